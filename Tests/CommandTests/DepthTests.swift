import Foundation
import Kernel
import SystemPackage
import TestSupport
import Testing

@Suite(
    "Deep images",
    .enabled(
        if: TestEnvironment.canMountOverlay && TestEnvironment.has("strace"),
        "no overlay mounts to test with, or no strace"),
    .disabled(if: TestEnvironment.isSanitized, "a sanitizer's own mmap(2) calls would be counted"))
struct DepthTests {
    /// Two layers, each with a file at the same depth. `isListed`: whether entries list the directories.
    private func image(_ program: Program, depth: Int, isListed: Bool) throws -> String {
        let layers = ["a", "b"].map { name in
            let directories = isListed ? (1...depth).map { String(repeating: "d/", count: $0) } : []
            let file = String(repeating: "d/", count: depth) + name
            return LayerBuilder(directories.map { .directory(Bytes($0)) } + [.file(Bytes(file), "1")])
        }
        return try program.image(layers).path.string
    }

    /// Runs the program, and counts its system calls with paths or file descriptors.
    private func calls(_ program: Program, _ arguments: [String]) throws -> Int {
        let trace = program.scratch.path.appending("trace").string
        let environment = [
            "UNPACK_ROOT": program.root.string, "UNPACK_SNAPSHOTTER": program.snapshotter.rawValue,
            "UNPACK_CONFIG": "", "ASAN_OPTIONS": "detect_leaks=0",
        ]
        try Command.run(
            ["strace", "-f", "-c", "-e", "trace=%file,%desc", "-o", trace, Program.path.string] + arguments,
            environment: environment
        ).succeed()
        let total = try String(contentsOfFile: trace, encoding: .utf8).split(separator: "\n").last
        // Fields: % time, seconds, usecs/call, calls, errors (optional), `total`.
        let fields = try #require(total).split(separator: " ")
        #expect(fields.last == "total")
        return try #require(Int(fields[3]))
    }

    /// Expects that twice the difference in depth needs about twice the calls.
    private func expectLinear(_ what: String, _ calls: [Int]) {
        #expect(calls.count == 3)
        let (first, second) = (calls[1] - calls[0], calls[2] - calls[1])
        #expect(Double(second) < 2.6 * Double(max(first, 200)), "\(what): \(calls)")
    }

    @Test(
        "The number of system calls grows linearly with the depth of an image, for every command",
        arguments: Snapshotter.possible, [false, true])
    func calls(snapshotter: Snapshotter, isListed: Bool) throws {
        var counts = [String: [Int]]()
        for depth in [150, 300, 600] {
            let program = try Program(snapshotter)
            let image = try image(program, depth: depth, isListed: isListed)
            let output = program.scratch.path.appending("o").string
            let jobs = [
                "unpack": [image, "-q"], "verify": ["verify"],
                "tar": [image, "-q", "--output", output + ".tar"],
                "output": [image, "-q", "--output", output],
            ]
            for what in ["unpack", "verify", "tar", "output"] {
                counts[what, default: []].append(try calls(program, jobs[what] ?? []))
            }
            try program.run(image, "-q", "--rw", "k").succeed()
            if snapshotter != .loop {
                counts["diff", default: []].append(try calls(program, ["diff", image, "k"]))
            }
            try program.run("snapshot", "rm", "k").succeed()
            let digest = try program.rows("SELECT manifest FROM image").trimmingCharacters(in: .newlines)
            counts["rm", default: []].append(try calls(program, ["rm", "--wait", digest]))
        }
        for (what, calls) in counts { expectLinear("\(snapshotter), \(what)", calls) }
    }
}
