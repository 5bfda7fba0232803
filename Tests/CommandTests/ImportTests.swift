import Foundation
import Kernel
import SystemPackage
import TestSupport
import Testing

/// The tar of an image, imported by podman.
@Suite(
    .enabled(
        if: TestEnvironment.canMountOverlay && TestEnvironment.has("podman"),
        "needs overlay mounts and podman"))
struct ImportTests {
    private let program: Program
    /// Short, because podman limits the path of its runtime directory to 50 characters. In lower case, because a
    /// reference to a layout has no upper case.
    private let running = "/tmp/podman-\(UInt32.random(in: .min ... .max))"

    init() throws { program = try Program() }

    private func podman(_ store: String, _ arguments: String...) throws -> String {
        let root = program.scratch.path.appending(store).string
        let options = ["--root", root, "--runroot", "\(running)/\(store)", "--storage-driver", "vfs"]
        let run = try Command.run(["podman"] + options + arguments, timeout: 300)
        return String(try run.succeed().text.split(separator: "\n").last ?? "")
    }

    /// Layers with everything that has made an import of a tar fail: symlinks, hard links, and names in several layers.
    private func layeredImage() throws -> String {
        let builder = try ImageBuilder(at: program.scratch.path.appending("layered"))
        try builder.writeIndex([
            try builder.image([
                LayerBuilder(
                    .directory("./", mode: 0o555).at(5), .directory("a").at(6),
                    .symlink("a/up", to: "../b/f").at(7),
                    .symlink("a/absolute", to: "/etc/passwd").at(8), .file("b/f", "content").at(9),
                    .directory("b", mode: 0o2555).owned(0, 7).at(10)),
                LayerBuilder(
                    .hardLink("a/f", to: "b/f").at(9), .directory("a/deep").at(11),
                    .symlink("a/deep/l", to: "..").at(12), .file("a/deep/g", "2").owned(3, 4).at(13)),
            ])
        ])
        return builder.path.string
    }

    @Test(
        "podman imports the tar and pulls the flattened image, and the tree is the same",
        arguments: [true, false])
    func imported(isLayered: Bool) throws {
        defer { try? FileManager.default.removeItem(atPath: running) }
        let image = isLayered ? try layeredImage() : "\(Program.fixtures)/busybox"
        let tree = try program.tree(try program.line(image))
        let tar = program.scratch.path.appending("image.tar").string
        try program.run(image, "--output", tar).succeed()
        let id = try podman("first", "import", "--quiet", tar)
        let flattened = "\(running)/flattened"
        _ = try podman("first", "push", "--quiet", id, "oci:\(flattened):one")
        _ = try podman("second", "pull", "--quiet", "oci:\(flattened):one")
        let shown = try program.tree(try program.line(flattened))
        #expect(shown == tree, "\(shown.difference(from: tree))")
    }
}
