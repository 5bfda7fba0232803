import Kernel
import SystemPackage
import TestSupport
import Testing
import TreeRecords

@Suite(.enabled(if: TestEnvironment.canApplyLayers))
private struct TreeRecordTests {
    @Test func writesTheDocumentedFormat() throws {
        let scratch = try RecordScratch()
        let tree = scratch.tree
        try tree.write("a b", "hello")
        try tree.link(tree.name("a b"), of: tree, as: tree.name("b"))
        try tree.make("c") { try $0.setOpacity(.opaque) }
        try tree.makeWhiteout(tree.name("d"), .device)
        try tree.file.setTimes(access: time, modification: .epoch)
        try scratch.write()
        #expect(
            try scratch.text == """
                #mtree
                . type=dir mode=0755 uid=0 gid=0 time=0.000000000
                ./a\\040b type=file mode=0644 uid=0 gid=0 time=1700000000.123456789 size=5 \
                sha256blocks=21eb8a0e65727a65c3310ab5ba432a8c80f343908cae64623e5413566719e0cc
                ./b type=file hardlink=./a\\040b
                ./c type=dir mode=0755 uid=0 gid=0 time=1700000000.123456789 xattr.trusted.overlay.opaque=eQ==
                ./d type=char mode=0000 uid=0 gid=0 time=0.000000000 device=linux,0,0
                # 5 paths

                """)
    }

    @Test func recordsAnEmptyTree() throws {
        let scratch = try RecordScratch()
        let digest = try scratch.write()
        #expect(try scratch.compare(digest) == [])
        #expect(try scratch.text.hasSuffix("\n# 1 paths\n"))
    }

    @Test func recordsNamesOfAnyBytes() throws {
        let scratch = try RecordScratch()
        let names: [Bytes] = [
            "a b", "new\nline", "tab\t", "back\\slash", "\\040", "#comment", "x=y", "*", "[a]?", "/set",
            [0xFF, 0xFE], "caf\u{E9}", "a", "a.b", "...", "~", Bytes([UInt8](repeating: 1, count: 255)),
        ].filter { $0 != "/set" }
        for name in names {
            try scratch.tree.write(name, "1")
            let target = Bytes("l-") + Bytes(name.array.prefix(200))
            try scratch.tree.makeSymlink(scratch.tree.name(target), target: name.array)
        }
        // Sorts between `a` and the content of `a` if whole paths are compared.
        try scratch.tree.make("d") { try $0.write("x", "") }
        try scratch.tree.make("d.e") { try $0.write("x", "") }
        let digest = try scratch.write()
        #expect(try scratch.compare(digest) == [])
        for name in names { try scratch.tree.write(name, "2") }
        let found = try scratch.compare(digest)
        #expect(found.count == names.count)
        #expect(!found.contains { $0.contains("\n") })
    }

    @Test func walksAnyDepthWithFewDescriptors() throws {
        let scratch = try RecordScratch()
        var directory = scratch.tree
        for level in 0..<1000 {
            try directory.make("d") { directory = $0 }
            // Visited after the content of `d`: the walk returns to this level.
            if level % 10 == 0 { try directory.write("e", "") }
        }
        let bottom = directory
        let digest = try scratch.write()
        #expect(try scratch.compare(digest) == [])
        try bottom.keepingTime { try $0.write("new", "") }
        #expect(
            try scratch.compare(digest) == [
                String(repeating: "d/", count: 1000) + "new: is not recorded"
            ])
    }

    @Test func isTheSameForACopy() throws {
        let scratch = try RecordScratch()
        try scratch.tree.fill()
        let digest = try scratch.write()
        let copy = try TemporaryDirectory(in: "/var/tmp")
        try Command.run("cp", "-a", scratch.path.string, copy.path.appending("copy").string).succeed()
        #expect(try scratch.write(try Directory(opening: copy.path.appending("copy"))) == digest)
    }

    @Test(.enabled(if: TestEnvironment.has("bsdtar")))
    func isReadByLibarchive() throws {
        let scratch = try RecordScratch()
        try scratch.tree.make("dir") { try $0.write("a b", "1") }
        try scratch.tree.makeSymlink(FileName(literal: "link"), target: [UInt8(ascii: "x")])
        try scratch.write()
        let record = scratch.temporary.path.appending("record").string
        // It warns about keywords that mtree(5) does not define, and continues.
        let listed = try Command.run("bsdtar", "-tf", record)
        #expect(listed.status <= 1 && !listed.errorText.contains("Damaged"), "\(listed.report)")
        #expect(listed.text == ".\n./dir\n./dir/a b\n./link\n")

        try scratch.tree.fill()
        try scratch.tree.write("new\nline", "")
        try scratch.write()
        let paths = try scratch.text.split(separator: "\n").count - 2
        let all = try Command.run("bsdtar", "-tf", record)
        #expect(all.status <= 1 && all.text.split(separator: "\n").count == paths, "\(all.report)")
    }
}
