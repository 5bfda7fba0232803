import Foundation
import Kernel
import SystemPackage
import TestSupport
import Testing

/// `unpack cat` and `unpack cp`.
@Suite("Copies out of an image")
struct CopyOutTests {
    private let scratch: TemporaryDirectory
    private let image: String

    init() throws {
        scratch = try TemporaryDirectory()
        let builder = try ImageBuilder(at: scratch.path.appending("i"))
        let sparse = TarEntry.file("d/sparse", "datamore").pax("GNU.sparse.size", "10000")
            .pax("GNU.sparse.map", "0,4,9996,4")
        let lower = LayerBuilder(
            .directory("d"), .file("d/old", "old"), .file("d/a", "from below").mode(0o4751), sparse,
            .file("hidden", "x"))
        let upper = LayerBuilder(
            .file("d/b", "from above"), .hardLink("d/c", to: "d/b"), .symlink("d/link", to: "/d/b"),
            .file("d/.wh.old", ""), .file(".wh.hidden", ""), .character("d/null", 1, 3),
            .symlink("loop", to: "loop"))
        try builder.writeIndex([try builder.image([lower, upper]).named("app:1")])
        image = builder.path.string
    }

    private func run(_ arguments: String...) throws -> Command {
        try Command.run(
            [Program.path.string] + arguments,
            environment: ["UNPACK_CONFIG": "", "UNPACK_ROOT": "/proc/none"], in: scratch.path)
    }

    @Test("cat writes the content of one file, through symlinks, from whichever layer it is")
    func cat() throws {
        #expect(try run("cat", image, "/d/a").succeed().text == "from below")
        #expect(try run("cat", image, "d/link").succeed().text == "from above")
        #expect(try run("cat", "\(image):app:1", "/d/c").succeed().text == "from above")
        let sparse = try run("cat", image, "/d/sparse").succeed().output
        #expect(sparse == Array("data".utf8) + [UInt8](repeating: 0, count: 9992) + Array("more".utf8))
    }

    @Test(
        "cat refuses a path that is not a regular file",
        arguments: [
            ("/d", 64, "'/d' is a directory"), ("/d/old", 66, "the image has no '/d/old'"),
            ("/hidden", 66, "the image has no '/hidden'"), ("/d/null", 64, "'/d/null' is not a regular file"),
            ("/loop", 65, "too many symlinks on the path '/loop'"),
        ])
    func refused(path: String, status: Int32, message: String) throws {
        let result = try run("cat", image, path)
        #expect(result.status == status && result.text.isEmpty)
        #expect(result.errorText.hasPrefix("unpack: \(message)\n"), "\(result.report)")
    }

    @Test("cp copies a directory with its files, links, permissions and times")
    func copy() throws {
        let result = try run("cp", "\(image):/d", "copy").succeed()
        #expect(result.errorText == "unpack: warning: /d/null: a device is not copied\n")
        let listed = try Command.run(
            "sh", "-c",
            #"cd copy && find . -printf '%P %y %m %n %l;' | tr ';' '\n' | sort && cat a b sparse | wc -c"#,
            in: scratch.path
        ).succeed()
        #expect(
            listed.text.split(separator: "\n").map { $0.trimmingCharacters(in: .whitespaces) } == [
                "d 755 2", "a f 751 1", "b f 644 2", "c f 644 2", "link l 777 1 /d/b", "sparse f 644 1",
                "10020",
            ])
        // Into an existing directory, under the same name; nothing is replaced.
        let into = try scratch.makeDirectory("into")
        try run("cp", "\(image):app:1:/d/a", into.string).succeed()
        #expect(try Command.run("cat", into.appending("a").string).succeed().text == "from below")
        let again = try run("cp", "\(image):/d/a", into.string)
        #expect(again.status == 64 && again.errorText.contains("has 'a' already"))
        #expect(try FileManager.default.contentsOfDirectory(atPath: into.string) == ["a"])
    }

    @Test("A damaged layer leaves no copy")
    func damaged() throws {
        let blobs = scratch.path.appending("i/blobs/sha256")
        for name in try FileManager.default.contentsOfDirectory(atPath: blobs.string) {
            let path = blobs.appending(name).string
            var bytes = try #require(FileManager.default.contents(atPath: path))
            guard bytes.starts(with: [0x1F, 0x8B]) else { continue }
            bytes[bytes.count / 2] ^= 1
            try bytes.write(to: URL(fileURLWithPath: path))
        }
        let result = try run("cp", "\(image):/d", "copy")
        #expect(result.status == 65)
        #expect(try FileManager.default.contentsOfDirectory(atPath: scratch.path.string) == ["i"])
    }

    @Test("A source without a path in an image is refused")
    func noPath() throws {
        let result = try run("cp", image, "copy")
        #expect(result.status == 64 && result.errorText.contains("hint: write it as IMAGE:/PATH"))
    }
}
