import Erofs
import Kernel
import SystemPackage
import TestSupport
import Testing

@Suite("EROFS: the kernel and erofs-utils") struct MountTests {
    enum Way: CaseIterable { case file, device }

    private static func isPossible(_ way: Way) -> Bool {
        way == .file ? TestEnvironment.canMountErofsFile : TestEnvironment.canMountErofsDevice
    }

    private func compare(_ model: inout ErofsModel, _ way: Way) throws {
        let (image, summary) = try model.finish()
        let mounted = try MountedErofs(image, length: summary.length, onLoop: way == .device)
        expectSame(try ErofsLines.of(mounted.root), model.lines)
    }

    @Test(
        "The kernel shows every feature as written",
        .enabled(if: TestEnvironment.canMountErofsDevice, "cannot mount EROFS"), arguments: forms,
        Way.allCases)
    func everything(form: ErofsWriter.Form, way: Way) throws {
        guard Self.isPossible(way) else { return }
        var model = try ErofsModel.everything(form)
        try compare(&model, way)
    }

    @Test(
        "Hard links are one inode for the kernel",
        .enabled(if: TestEnvironment.canMountErofsDevice, "cannot mount EROFS"))
    func links() throws {
        var model = try ErofsModel(.tarBacked)
        let file = try model.addRegular("a", noise(10))
        let directory = try model.makeDirectory("directory")
        try model.link(file, as: "b", in: directory)
        try model.addRegular("c", noise(10))
        // Stores the inode again.
        var metadata = ErofsModel.plain()
        metadata.attributes = [attribute("user.a", noise(300))]
        try model.setMetadata(of: file, metadata)
        let (image, summary) = try model.finish()
        let root = try MountedErofs(image, length: summary.length, onLoop: true).root
        let a = try #require(try root.status(of: FileName(literal: "a")))
        let b = try #require(
            try root.open(FileName(literal: "directory")).status(of: FileName(literal: "b")))
        #expect(a == b)
        #expect(a.linkCount == 2)
        #expect(try root.status(of: FileName(literal: "c"))?.identity != a.identity)
    }

    @Test(
        "The kernel shows attributes of the root that are shared",
        .enabled(if: TestEnvironment.canMountErofsDevice, "cannot mount EROFS"), arguments: forms,
        [2800, 2900, 200_000])
    func rootAttributes(form: ErofsWriter.Form, size: Int) throws {
        var root = ErofsModel.plain(0o700)
        root.attributes = (0..<4).map { attribute("user.\($0)", noise(size / 4, seed: UInt64($0 + 1))) }
        root.attributes.append(attribute("system.posix_acl_default", ErofsModel.accessList))
        var model = try ErofsModel(form, root: root)
        try model.addRegular("file", noise(100))
        try compare(&model, .device)
    }

    @Test("Random trees look the same to our reader, to the kernel and to fsck.erofs", arguments: forms)
    func random(form: ErofsWriter.Form) throws {
        for seed in 1...10 as ClosedRange<UInt64> {
            var model = try ErofsModel(form, choices: noise(1500, seed: seed)[...])
            let (image, summary) = try model.finish()
            let expected = model.lines
            expectSame(try ErofsLines.of(ErofsImage(image, length: summary.length)), expected)
            if let fsck = ErofsTool.fsck.path {
                let (temporary, path) = try temporaryImage(image, summary)
                let result = try Command.run(fsck, "--extract", path.string)
                #expect(result.status == 0, "\(result.report)")
                withExtendedLifetime(temporary) {}
            }
            for way in Way.allCases where Self.isPossible(way) {
                let mounted = try MountedErofs(image, length: summary.length, onLoop: way == .device)
                expectSame(try ErofsLines.of(mounted.root), expected)
            }
        }
    }

    private func temporaryImage(
        _ image: any ByteStore, _ summary: ErofsSummary
    ) throws -> (TemporaryDirectory, FilePath) {
        let temporary = try TemporaryDirectory()
        var bytes = [UInt8]()
        try image.read(Int(summary.length), at: 0, into: &bytes)
        return (temporary, try temporary.write("image", bytes))
    }

    @Test(
        "fsck.erofs finds no error", .enabled(if: ErofsTool.fsck.path != nil, "no erofs-utils"),
        arguments: forms)
    func check(form: ErofsWriter.Form) throws {
        var model = try ErofsModel.everything(form)
        let (image, summary) = try model.finish()
        let (temporary, path) = try temporaryImage(image, summary)
        defer { withExtendedLifetime(temporary) {} }
        let result = try Command.run(try #require(ErofsTool.fsck.path), "--extract", path.string)
        #expect(result.status == 0, "\(result.report)")
        let dump = try Command.run(try #require(ErofsTool.dump.path), "--path=/", path.string).succeed()
        #expect(dump.text.contains("NID: 36 "), "\(dump.report)")
    }
}
