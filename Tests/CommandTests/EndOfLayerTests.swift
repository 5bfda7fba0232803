import Foundation
import Kernel
import OCI
import SystemPackage
import TestSupport
import Testing

/// Layers without padding at the end, as umoci and other tools write them, in every command.
@Suite(.enabled(if: TestEnvironment.canMountOverlay, "needs overlay mounts"))
struct EndOfLayerTests {
    private let program: Program

    init() throws { program = try Program() }

    /// An image whose last layer lacks bytes at its end.
    private func image(missing: Int) throws -> String {
        let builder = try ImageBuilder(at: program.scratch.path.appending("i\(missing)"))
        let tars = [
            LayerBuilder(.file("d/a", "1")).tar,
            Array(
                LayerBuilder([.directory("d"), .file("d/f", "content")], end: .nothing).tar.dropLast(missing)),
        ]
        let layers = try tars.map { try builder.blob(Packing.gzip.pack($0), Packing.gzip.mediaType) }
        let config = try builder.config(.host, tars.map { DiffID(Digest(.sha256, of: $0)) })
        try builder.writeIndex([try builder.manifest(config, layers)])
        return builder.path.string
    }

    private func runs(_ image: String, _ name: String) throws -> [Command] {
        let place = program.scratch.path.appending(name).string
        return [
            try program.run(image), try program.run(image, "--output", place),
            try program.run(image, "--output", "\(place).tar"), try program.run("ls", image),
            try program.run("why", image, "d/f"), try program.run("inspect", image),
        ]
    }

    @Test(
        "Every command accepts a layer whose last block lacks only padding", arguments: [1, 505])
    func whole(missing: Int) throws {
        for run in try runs(try image(missing: missing), "whole") {
            #expect(run.status == 0, "\(run.report)")
        }
        let content = program.scratch.path.appending("whole/d/f").string
        #expect(try String(contentsOfFile: content, encoding: .utf8) == "content")
    }

    @Test("Every command that reads a layer refuses one that lacks a byte of its data")
    func short() throws {
        for run in try runs(try image(missing: 506), "short").dropLast() {
            #expect(run.status == 65, "\(run.report)")
            #expect(run.errorText.contains("entry 'd/f', byte 1030 of the tar: unexpected end of the tar"))
        }
        try program.expectClean()
    }
}
