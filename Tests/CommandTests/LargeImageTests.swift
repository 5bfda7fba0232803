import Foundation
import Kernel
import SystemPackage
import TestSupport
import Testing

/// The image that `make test-large` builds with `Fixtures/make-large.sh`.
private enum Large {
    static let path = ProcessInfo.processInfo.environment["UNPACK_LARGE_IMAGE"]
    static let reference = "large:1.0"
}

@Suite(.serialized, .enabled(if: Large.path != nil, "needs UNPACK_LARGE_IMAGE, as make test-large sets it"))
struct LargeImageTests {
    private let image: String

    init() throws { image = try #require(Large.path) }

    @Test(
        "Its tree is the same as umoci's: every path, type, mode, owner, size, digest, link, time, attribute"
    )
    func sameAsUmoci() throws {
        let program = try Program()
        let ours = try program.tree(try program.line(image))
        let bundle = program.scratch.path.appending("u")
        try Command.run(
            ["umoci", "unpack", "--image", "\(image):\(Large.reference)", bundle.string], timeout: 600
        ).succeed()
        let theirs = try TreeDump(of: try Directory(opening: bundle.appending("rootfs")))
        print("\(ours.lines.count) paths compared")
        #expect(ours.lines.count > 50_000)
        // Only the first differences: the dumps are too long for a report.
        let differing = zip(ours.lines, theirs.lines).filter { $0 != $1 }.prefix(5)
        #expect(differing.map(\.0) == differing.map(\.1))
        #expect(ours.lines.count == theirs.lines.count)
    }

    @Test(
        "After kill -9 at any of twenty moments the next run opens the store and finishes with the same tree")
    func killed() throws {
        let fresh = try Program()
        let expected = try fresh.tree(try fresh.line(image)).text
        for round in 1...20 {
            let program = try Program()
            let delay = Double.random(in: 0.05...6)
            // With one job and with four, alternately.
            let jobs = "\(1 + round % 2 * 3)"
            let killed = try Command.run(
                [
                    "bash", "-c", #""$0" "$1" -q --jobs "$2" & sleep \#(delay); kill -9 $!; wait $!"#,
                    Program.path.string, image, jobs,
                ],
                environment: ["UNPACK_ROOT": program.root.string])
            let committed = try? program.rows(
                "SELECT count(*) FROM snapshot WHERE verified_chain IS NOT NULL")
            let line = try program.line(image, "--jobs", jobs)
            print(
                "round \(round), \(jobs) jobs: killed after \(delay) s with status \(killed.status),",
                "\(committed?.trimmingCharacters(in: .newlines) ?? "no store") layers committed")
            #expect(try program.tree(line).text == expected)
            #expect(try program.rows("SELECT count(*) FROM snapshot") == "6\n")
            #expect(try Directory(opening: program.root.appending("overlayfs")).names().count == 6)
        }
    }
}
