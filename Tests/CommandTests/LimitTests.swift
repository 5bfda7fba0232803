import Foundation
import Kernel
import SystemPackage
import TestSupport
import Testing

@Suite(
    "Limits", .enabled(if: TestEnvironment.canApplyLayers, "no place for device nodes and trusted attributes")
)
struct LimitTests {
    private static let layers = [
        LayerBuilder(.directory("d"), .file("d/a", Bytes(String(repeating: "a", count: 3000)))),
        LayerBuilder(.file("d/b", Bytes(String(repeating: "b", count: 3000))), .symlink("l", to: "d")),
    ]

    @Test(
        "An image above a limit is refused, and leaves nothing",
        arguments: [
            (
                ["--max-bytes", "5999"], 65,
                "layer * of 2 (*): entry 'd/*', byte * of the tar: the image has more than 5999 bytes of files\n"
            ),
            (
                ["--max-bytes", "0"], 65,
                "layer 1 of 2 (*): entry 'd/a', byte * of the tar: the image has more than 0 bytes of files\n"
            ),
            (
                ["--max-entries", "3"], 65,
                "layer * of 2 (*): entry '*', byte * of the tar: the image has more than 3 entries\n"
            ),
            (
                ["--max-ratio", "0"], 65,
                "layer 1 of 2 (*): the image unpacks to more than 0 bytes, which --max-ratio allows\n"
            ),
            (
                ["--max-bytes=-1"], 64,
                "--max-bytes is a number of bytes, or a size such as 20G or 500MiB, not -1"
            ),
            (["--jobs", "0"], 64, "--jobs is 1 to 16, not 0"),
        ] as [([String], Int32, String)], [1, 4])
    func refused(limit: ([String], status: Int32, message: String), jobs: Int) throws {
        let program = try Program()
        let image = try program.image(Self.layers)
        let jobs = limit.0.contains("--jobs") ? [] : ["--jobs", "\(jobs)"]
        let result = try program.run([image.path.string, "-q"] + limit.0 + jobs)
        #expect(result.status == limit.status, "\(result.report)")
        #expect(
            result.errorText.matches(
                "unpack: \(limit.message)*\(limit.status == 65 ? "hint: if you trust it, raise --max-*\n" : "\n")"
            ), "\(result.report)")
        if limit.status == 65 {
            #expect(try program.rows("SELECT count(*) FROM image") == "0\n")
        }
    }

    @Test("An image exactly at its limits is unpacked", arguments: [1, 4])
    func accepted(jobs: Int) throws {
        let program = try Program()
        let image = try program.image(Self.layers)
        _ = try program.line(
            image.path.string, "-q", "--max-bytes", "6000", "--max-entries", "4", "--max-ratio", "2",
            "--jobs", "\(jobs)")
    }

    @Test("The number of jobs can be set in the environment, and the option overrides it")
    func environmentJobs() throws {
        let program = try Program()
        let image = try program.image(Self.layers).path.string
        let wrong = try Command.run(
            [Program.path.string, image, "--root", program.root.string], environment: ["UNPACK_JOBS": "many"])
        #expect(wrong.status == 64)
        #expect(wrong.errorText.contains("UNPACK_JOBS is 1 to 16, not many"), "\(wrong.report)")
        let right = try Command.run(
            [Program.path.string, image, "--root", program.root.string, "--jobs", "2"],
            environment: ["UNPACK_JOBS": "many"])
        #expect(right.status == 0, "\(right.report)")
    }

    @Test("Holes do not count against the limit, and a layer that is applied twice counts once")
    func counting() throws {
        let program = try Program()
        let zeros = Bytes([UInt8](repeating: 0, count: 1 << 20))
        let image = try program.image([
            LayerBuilder(.symlink("x", to: "z"), .directory("z")),
            // The first entry goes through the lower symlink that the last one hides, so the layer is applied again.
            LayerBuilder(.file("x/y", "123"), .file("zeros", zeros), .file(".wh.x")),
        ])
        _ = try program.line(image.path.string, "-q", "--max-bytes", "3", "--max-entries", "5")
    }

    @Test("An image whose compressed size does not fit is refused before it is read")
    func preflight() throws {
        let program = try Program()
        let image = try program.image([LayerBuilder(.file("large", Bytes.noise(9_000_000)))])
        try program.withTemporaryStore("size=8m") {
            let result = try program.run(image.path.string, "-q")
            #expect(result.status == 74)
            #expect(
                result.errorText.matches(
                    "unpack: the layers have 9* bytes compressed, and 8* are free in *\nhint: free some space,*\n"
                ),
                "\(result.report)")
            try program.expectClean()
        }
    }

    @Test("Without an explicit limit, the limit is the free space")
    func freeSpace() throws {
        let program = try Program()
        // The size of an uncompressed tar is no estimate, because its files may have holes.
        let image = try program.image(
            [LayerBuilder(.file("large", Bytes.noise(9_000_000)))], packing: .none)
        try program.withTemporaryStore("size=8m") {
            let result = try program.run(image.path.string, "-q")
            #expect(result.status == 74, "\(result.report)")
            try program.expectClean()
        }
    }

    /// A layer with an entry of each type, each of which needs an inode.
    private static let everything = LayerBuilder(
        .directory("d"), .file("d/f", "1"), .symlink("d/l", to: "f"), .fifo("p"), .character("c", 1, 3),
        .file("i/m/p", "2"), .hardLink("h", to: "below"), .whiteout("gone"), .file("x/y/z/end", "3"))

    @Test(
        "A disk that is full at any entry fails the run, nothing is left, and a later run works",
        arguments: [1, 4])
    func fullAtAnyEntry(jobs: Int) throws {
        let program = try Program()
        let image = try program.image([
            LayerBuilder(.file("below", "1"), .file("gone", "1")), Self.everything,
        ])
        var statuses = [Int32]()
        for inodes in 8...48 {
            try program.withTemporaryStore("size=8m,nr_inodes=\(inodes)") {
                let result = try program.run(image.path.string, "-q", "--jobs", "\(jobs)")
                statuses.append(result.status)
                guard result.status != 0 else { return }
                #expect(result.status == 74, "\(inodes) inodes: \(result.report)")
                #expect(
                    result.errorText.contains("no inodes left on the file system\nhint: remove files"),
                    "\(inodes) inodes: \(result.report)")
                try Command.run(
                    "mount", "-o", "remount,nr_inodes=1000", "unpack", program.root.string
                ).succeed()
                _ = try program.line(image.path.string, "-q")
                #expect(try program.rows("SELECT count(*) FROM snapshot") == "2\n")
                let folders = try Directory(opening: program.root.appending("overlayfs")).names()
                #expect(folders.count == 2, "\(inodes) inodes")
            }
        }
        // The limits ranged from no space at all to enough space.
        #expect(statuses.first == 74 && statuses.last == 0 && statuses.filter { $0 == 74 }.count > 15)
    }
}

extension Program {
    /// Runs `body` with the store on a new tmpfs.
    fileprivate func withTemporaryStore(_ options: String, _ body: () throws -> Void) throws {
        _ = try scratch.makeDirectory("s")
        try Command.run("mount", "-t", "tmpfs", "-o", "\(options),mode=0700", "unpack", root.string).succeed()
        defer { _ = try? Command.run("umount", root.string) }
        try body()
    }
}
