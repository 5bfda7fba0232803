import Kernel
import SystemPackage
import TestSupport
import Testing
import TreeRecords

private struct Change: Sendable, CustomTestStringConvertible {
    let testDescription: String
    let change: @Sendable (Directory) throws -> Void
    /// The beginning of each reported difference.
    let found: [String]

    init(_ name: String, _ found: [String], _ change: @escaping @Sendable (Directory) throws -> Void) {
        testDescription = name
        self.change = change
        self.found = found
    }
}

private func inside(
    _ folder: String, _ body: @escaping @Sendable (Directory) throws -> Void
) -> @Sendable (Directory) throws -> Void {
    { try $0.open(FileName(literal: folder)).keepingTime(body) }
}

private let changes: [Change] = [
    Change("nothing", []) { _ in },
    Change(
        "one byte, the time restored", ["dir/file: the content's digest is "],
        inside("dir") { try $0.write("file", "some bontent") }),
    Change(
        "a byte more", ["dir/file: size is 13, recorded as 12", "dir/file: the content's digest is "],
        inside("dir") { try $0.write("file", "some content!") }),
    Change(
        "mode", ["dir/other: mode is 0755, recorded as 4755"],
        inside("dir") { try $0.setMode(of: $0.name("other"), 0o755) }),
    Change(
        "uid", ["dir/file: uid is 7, recorded as 0"],
        inside("dir") { try $0.setOwner(of: $0.name("file"), uid: 7, gid: 0) }),
    Change(
        "gid", ["dir/full: gid is 8, recorded as 0"],
        inside("dir") { try $0.setOwner(of: $0.name("full"), uid: 0, gid: 8) }),
    Change(
        "time", ["dir/file: time is -1.000000007, recorded as 1700000000.123456789"],
        inside("dir") {
            let time = Timestamp(seconds: -1, nanoseconds: 7)
            try $0.setTimes(of: $0.name("file"), access: time, modification: time)
        }),
    Change("the top's mode", [".: mode is 0700, recorded as 0755"]) { try $0.file.setMode(0o700) },
    Change(
        "an attribute's value", ["xattrs/file: xattr.user.a\\040b\\075c is AQM=, recorded as AQI="],
        inside("xattrs") {
            try $0.setExtendedAttribute(AttributeName(literal: "user.a b=c"), [1, 3], of: $0.name("file"))
        }),
    Change(
        "an attribute more", ["xattrs/file: xattr.user.new is bmV3, not recorded"],
        inside("xattrs") {
            try $0.setExtendedAttribute(
                AttributeName(literal: "user.new"), Array("new".utf8), of: $0.name("file"))
        }),
    Change(
        "an attribute less", ["xattrs/file: xattr.trusted.empty is missing, recorded as "],
        inside("xattrs") {
            try $0.openFile($0.name("file")).removeExtendedAttribute(AttributeName(literal: "trusted.empty"))
        }),
    Change(
        "no longer opaque",
        ["overlay/opaque: xattr.trusted.overlay.opaque is missing, recorded as eQ=="],
        inside("overlay") {
            try $0.open($0.name("opaque")).file.removeExtendedAttribute(OverlayMarks.own.opaque)
        }),
    Change(
        "no longer a whiteout",
        ["overlay/attribute: xattr.trusted.overlay.whiteout is missing, recorded as "],
        inside("overlay") {
            try $0.openFile($0.name("attribute")).removeExtendedAttribute(OverlayMarks.own.whiteout)
        }),
    Change(
        "a whiteout removed", ["overlay/device: is missing"],
        inside("overlay") { try $0.removeFile($0.name("device")) }),
    Change(
        "a symlink's target", ["links/symlink: link is elsewhere, recorded as ../dir/file"],
        inside("links") {
            try $0.removeFile($0.name("symlink"))
            try $0.makeSymlink($0.name("symlink"), target: Array("elsewhere".utf8))
            try $0.setTimes(of: $0.name("symlink"), access: time, modification: time)
        }),
    Change(
        "a device's number", ["nodes/null: device is linux,1,5, recorded as linux,1,3"],
        inside("nodes") {
            try $0.removeFile($0.name("null"))
            try $0.makeNode($0.name("null"), .character(DeviceNumber(major: 1, minor: 5)), mode: 0o666)
            try $0.setTimes(of: $0.name("null"), access: time, modification: time)
        }),
    Change(
        "a directory that becomes a file", ["dir/full: type is file, recorded as dir"],
        inside("dir") {
            try $0.removeTree($0.name("full"))
            try $0.write("full", "")
        }),
    Change(
        "a file that becomes a directory", ["dir/file: type is dir, recorded as file"],
        inside("dir") {
            try $0.removeFile($0.name("file"))
            try $0.make("file") { try $0.write("below", "") }
        }),
    Change(
        "a broken link", ["links/b: hardlink is missing, recorded as ./links/a"],
        inside("links") {
            try $0.removeFile($0.name("b"))
            try $0.write("b", "linked")
        }),
    Change(
        "a file that becomes a link",
        [
            "dir/other: hardlink is ./dir/file, not recorded", "dir/other: mode is 0644, recorded as 4755",
            "dir/other: size is 12, recorded as 13", "dir/other: the content's digest is ",
        ],
        inside("dir") {
            try $0.removeFile($0.name("other"))
            try $0.link($0.name("file"), of: $0, as: $0.name("other"))
        }),
    Change(
        "a new link, before all others", ["links/0: is not recorded"],
        inside("links") { try $0.link($0.name("c"), of: $0, as: $0.name("0")) }),
    Change(
        "content of linked files", ["links/a: the content's digest is "],
        inside("links") { try $0.write("b", "lInked") }),
    Change(
        "a new file", ["dir/another: is not recorded"], inside("dir") { try $0.write("another", "") }),
    Change(
        "a new directory", ["dir/z: is not recorded"],
        inside("dir") { try $0.make("z") { try $0.write("in it", "") } }),
    Change(
        "a removed file", ["dir/file: is missing"], inside("dir") { try $0.removeFile($0.name("file")) }),
    Change(
        "a removed directory", ["dir/full: is missing"],
        inside("dir") { try $0.removeTree($0.name("full")) }),
    Change(
        "the last one removed", ["xattrs: is missing"],
        { try $0.keepingTime { try $0.removeTree($0.name("xattrs")) } }),
]

@Suite(.enabled(if: TestEnvironment.canApplyLayers))
private struct TreeComparisonTests {
    @Test(arguments: changes)
    func namesEachChangeAndNothingElse(_ change: Change) throws {
        let scratch = try RecordScratch()
        try scratch.tree.fill()
        let digest = try scratch.write()
        try change.change(scratch.tree)
        let found = try scratch.compare(digest)
        #expect(found.count == change.found.count, "\(found)")
        for (line, beginning) in zip(found, change.found) { #expect(line.hasPrefix(beginning)) }
        #expect(try (scratch.write() == digest) == change.found.isEmpty)
    }

    @Test func reportsTheOldAndTheNewContent() throws {
        let scratch = try RecordScratch()
        try scratch.tree.write("f", "hello")
        let digest = try scratch.write()
        try scratch.tree.keepingTime { try $0.write("f", "hallo") }
        #expect(
            try scratch.compare(digest) == [
                "f: the content's digest is 8ffa6d8a32122e4914f078eda2965b849b5e633fb02c788c4a813717370800cd, recorded as 21eb8a0e65727a65c3310ab5ba432a8c80f343908cae64623e5413566719e0cc"
            ])
    }

    @Test(.enabled(if: TestEnvironment.canMountOverlay))
    func continuesAfterAnUnreadableFile() throws {
        let scratch = try RecordScratch()
        for name in ["a", "b", "c"] as [Bytes] { try scratch.tree.write(name, "content") }
        let digest = try scratch.write()
        try scratch.tree.keepingTime { try $0.write("c", "changed") }
        // EACCES from open, or EIO from a read at offset 0, where no process has memory.
        let broken = scratch.path.appending("b")
        try Command.run("mount", "--bind", "/proc/1/mem", broken.string).succeed()
        defer { try? unmountWhenFree(broken) }
        let found = try scratch.compare(digest)
        #expect(
            found.count == 2 && found[0].hasPrefix("b: cannot be read: ") && found[1].hasPrefix("c: "))
        #expect(throws: SyscallFailure.self) { try scratch.write() }
    }

    @Test func stopsWhenTheCheckThrows() throws {
        struct Enough: Error {}
        let scratch = try RecordScratch()
        try scratch.tree.fill()
        let digest = try scratch.write()
        let other = try scratch.folder.openOrCreateFile(FileName(literal: "other"), mode: 0o600)
        var asked = 0
        func check() throws {
            asked += 1
            if asked == 7 { throw Enough() }
        }
        #expect(throws: Enough.self) {
            try TreeRecord.write(tree: scratch.tree, to: other, check: check)
        }
        asked = 0
        #expect(throws: Enough.self) {
            try TreeComparison.compare(
                tree: scratch.tree, with: scratch.record, in: scratch.folder, digest: digest, check: check
            ) { _ in }
        }
    }
}
