import Foundation
import Glibc
import Kernel
import SystemPackage
import TestSupport
import Testing

@Suite(
    "Verification", .enabled(if: TestEnvironment.canApplyLayers, "needs root and a file system for layers"))
struct VerifyTests {
    private let program: Program
    private let image: ImageBuilder

    init() throws {
        program = try Program()
        image = try program.image([
            LayerBuilder(.directory("bin"), .file("bin/tool", Bytes(String(repeating: "x", count: 10_000)))),
            LayerBuilder(.file("bin/other", "second"), .hardLink("bin/again", to: "bin/other")),
            LayerBuilder(.file("top", "third").mode(0o4755)),
        ])
    }

    private func unpack(_ options: String...) throws {
        try program.run([image.path.string, "-q"] + options).succeed()
    }

    /// The path of a file in a layer's directory, by the layer's number.
    private func path(_ name: String, ofLayer number: Int, _ snapshotter: String = "overlayfs") -> FilePath {
        program.root.appending(snapshotter).appending("\(number)").appending("fs").appending(name)
    }

    /// Flips one bit and restores the times, like a defective disk.
    private func flip(_ path: FilePath) throws {
        var status = stat()
        #expect(stat(path.string, &status) == 0)
        let file = try #require(FileHandle(forUpdatingAtPath: path.string))
        try file.seek(toOffset: UInt64(status.st_size / 2))
        let byte = try #require(try file.read(upToCount: 1)?.first)
        try file.seek(toOffset: UInt64(status.st_size / 2))
        try file.write(contentsOf: [byte ^ 1])
        try file.close()
        let times = [status.st_atim, status.st_mtim]
        #expect(utimensat(AT_FDCWD, path.string, times, 0) == 0)
    }

    private func expect(
        _ status: Int32, _ arguments: [String] = [], lines: [String],
        sourceLocation: SourceLocation = #_sourceLocation
    ) throws {
        let result = try program.run(["verify", "-q"] + arguments)
        let found = result.text.split(separator: "\n").map(String.init)
        #expect(result.status == status, "\(result.text)\(result.errorText)", sourceLocation: sourceLocation)
        #expect(found.count == lines.count, "\(result.text)", sourceLocation: sourceLocation)
        for (line, pattern) in zip(found, lines) {
            #expect(line.matches(pattern), "\(line)", sourceLocation: sourceLocation)
        }
    }

    @Test("An undamaged snapshot is intact, and prints nothing")
    func intact() throws {
        try unpack()
        try expect(0, lines: [])
        let result = try program.run("verify")
        #expect(result.text.isEmpty && result.errorText.contains("as recorded"))
    }

    @Test("One flipped bit of one file is reported with both digests, and the exit status is that of fsck")
    func flipped() throws {
        try unpack()
        try flip(path("bin/tool", ofLayer: 1))
        try expect(4, lines: ["sha256:*: bin/tool: the content's digest is *, recorded as *"])
    }

    @Test("Missing, added and changed files are reported, one per line")
    func changed() throws {
        try unpack()
        #expect(chmod(path("top", ofLayer: 3).string, 0o755) == 0)
        #expect(unlink(path("bin/again", ofLayer: 2).string) == 0)
        try Data("new".utf8).write(to: URL(fileURLWithPath: path("added", ofLayer: 3).string))
        let result = try program.run("verify", "-q")
        #expect(result.status == 4)
        for pattern in [
            ": bin/again: is missing", ": added: is not recorded", ": top: mode is 0755, recorded as 4755",
        ] {
            #expect(result.text.contains(pattern), "\(result.text)")
        }
    }

    @Test("Damaged layers are repaired in place, and the snapshots on top of them show the repaired content")
    func repair() throws {
        let line = try program.line(image.path.string, "-q", "--rw", "mine")
        let good = try program.tree(try program.line(image.path.string, "-q"))
        try program.mounted(line) { _ = try $0.createFile(FileName(literal: "written"), mode: 0o600) }
        try flip(path("bin/tool", ofLayer: 1))
        try Directory(opening: program.root.appending("overlayfs")).removeTree(FileName(literal: "2"))
        let result = try program.run("verify", "-q", "--repair", image.path.string)
        #expect(result.status == 1, "\(result.errorText)")
        try expect(0, lines: [])
        #expect(try program.tree(try program.line(image.path.string, "-q")) == good)
        // The writable snapshot has kept its files, and shows the repaired layers.
        let mine = try program.line(image.path.string, "-q", "--rw", "mine")
        #expect(mine == line)
        let written = try program.mounted(mine) { root in
            (try root.status(of: FileName(literal: "written")) != nil, try TreeDump(of: root)["bin/tool"])
        }
        #expect(written.0)
        #expect(written.1 == good["bin/tool"])
        #expect(try program.rows("SELECT count(*) FROM snapshot WHERE kind = 'active'") == "1\n")
        #expect(try Directory(opening: program.root.appending("overlayfs")).names().count == 4)
    }

    @Test("Snapshots of a full-copy backend are verified and repaired")
    func mergedTree() throws {
        try unpack("--snapshotter", "native")
        try flip(path("bin/tool", ofLayer: 3, "native"))
        let native = ["--snapshotter", "native"]
        try expect(4, native, lines: ["sha256:*: bin/tool: the content's digest is *, recorded as *"])
        let result = try program.run(["verify", "-q", "--repair", image.path.string] + native)
        #expect(result.status == 1, "\(result.errorText)")
        try expect(0, native, lines: [])
    }

    @Test("A layer of a full-copy backend is repaired without the damage of its parent")
    func damageBelow() throws {
        let native = ["--snapshotter", "native"]
        try unpack("--snapshotter", "native")
        let good = try TreeDump(of: try Directory(opening: path(".", ofLayer: 3, "native")))
        for layer in 1...3 { try flip(path("bin/tool", ofLayer: layer, "native")) }
        let result = try program.run(["verify", "-q", "--repair", image.path.string] + native)
        #expect(result.status == 1, "\(result.errorText)")
        try expect(0, native, lines: [])
        #expect(try TreeDump(of: try Directory(opening: path(".", ofLayer: 3, "native"))) == good)
    }

    @Test("A mounted layer is not repaired")
    func mounted() throws {
        let line = try program.line(image.path.string, "-q")
        try flip(path("bin/tool", ofLayer: 1))
        try program.mounted(line) { _ in
            let result = try program.run("verify", "-q", "--repair", image.path.string)
            #expect(result.status == 4)
            let lines = result.errorText.split(separator: "\n").map(String.init)
            #expect(lines.count == 2, "\(result.errorText)")
            #expect(
                lines[0].matches(
                    "unpack: sha256:* was not repaired: cannot replace the chain sha256:*: it is mounted on '*'"
                ))
            #expect(lines[1] == "hint: unmount it there, and try again")
        }
        #expect(try program.run("verify", "-q", "--repair", image.path.string).status == 1)
    }

    @Test("An image without the damaged layer cannot repair it")
    func otherImage() throws {
        try unpack()
        let other = try program.image([LayerBuilder(.file("x"))])
        try flip(path("top", ofLayer: 3))
        let result = try program.run("verify", "-q", "--repair", other.path.string)
        #expect(result.status == 4)
        #expect(result.errorText.contains("the image has no such layer"))
        try expect(4, lines: ["sha256:*: top: the content's digest is *"])
    }

    @Test(
        "A layer is not repaired on top of a damaged layer, even if the lower one was not selected",
        arguments: ["overlayfs", "native"])
    func damageBelow(snapshotter: String) throws {
        let text = String(repeating: "x", count: 10_000)
        let image = try program.image([
            LayerBuilder(.directory("bin"), .file("bin/tool", Bytes(text))),
            LayerBuilder(.hardLink("bin/again", to: "bin/tool"), .file("bin/other", "second")),
        ])
        let own = ["--snapshotter", snapshotter]
        try program.run([image.path.string, "-q"] + own).succeed()
        try program.run(["verify", "-q"] + own).succeed()
        let top = try program.rows("SELECT name FROM snapshot WHERE id = 2")
            .trimmingCharacters(in: .newlines)
        try flip(path("bin/tool", ofLayer: 1, snapshotter))
        try flip(path("bin/other", ofLayer: 2, snapshotter))
        let repair = ["verify", "-q", "--repair", image.path.string] + own
        let result = try program.run(repair + [top])
        #expect(result.status == 4)
        #expect(
            result.errorText.matches(
                "*was not repaired: a layer below it, sha256:*, is damaged\nhint: *\n"))
        #expect(try program.run(repair).status == 1)
        try expect(0, own, lines: [])
        let contents = FileManager.default.contents(
            atPath: path("bin/again", ofLayer: 2, snapshotter).string)
        #expect(contents == Data(text.utf8))
    }

    @Test("A damaged record is distinguished from a damaged tree")
    func record() throws {
        try unpack()
        try flip(program.root.appending("overlayfs/3/mtree"))
        try expect(4, lines: ["sha256:*: the record of the tree is damaged: it is sha256:*, not sha256:*"])
        #expect(try program.run("verify", "-q", "--repair", image.path.string).status == 1)
        try expect(0, lines: [])
    }

    @Test("A layer that was unpacked without --sync fs is recorded by its first verification")
    func recordedLater() throws {
        try unpack("--sync", "none")
        #expect(!FileManager.default.fileExists(atPath: program.root.appending("overlayfs/1/mtree").string))
        let first = try program.run("verify", "--json")
        #expect(first.status == 0)
        #expect(first.text.components(separatedBy: #""state":"recorded""#).count == 4, "\(first.text)")
        try flip(path("top", ofLayer: 3))
        try expect(4, lines: ["sha256:*: top: the content's digest is *"])
    }

    @Test(
        "An image's chain or one snapshot can be selected; a missing one exits with 8, a usage error with 16")
    func chosen() throws {
        try unpack()
        let chain = try program.rows("SELECT name FROM snapshot WHERE id = 3").split(separator: "\n")[0]
        try flip(path("bin/tool", ofLayer: 1))
        try expect(0, [String(chain)], lines: [])
        let manifest = try program.rows("SELECT manifest FROM image").split(separator: "\n")[0]
        try expect(4, [String(manifest)], lines: ["sha256:*: bin/tool: the content's digest is *"])
        try expect(8, ["nothing"], lines: [])
        try expect(16, ["--ref", "x"], lines: [])
    }
}
