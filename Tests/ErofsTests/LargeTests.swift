import Erofs
import ErofsFiles
import Foundation
import Kernel
import SystemPackage
import TestSupport
import Testing

@Suite("EROFS: large directories and files") struct LargeTests {
    /// Number of names in one directory. A release build takes a second for 1,000,000.
    private static let names =
        ProcessInfo.processInfo.environment["UNPACK_EROFS_NAMES"].flatMap { Int($0) } ?? 100_000

    @Test("A directory of many names", arguments: forms)
    func names(form: ErofsWriter.Form) throws {
        let temporary = try TemporaryDirectory(in: "/var/tmp")
        let path = temporary.path.appending("image")
        let store = try FileStore(path)
        var writer = try ErofsWriter(form, uuid: ErofsModel.uuid, image: store) {
            try FileStore(temporary.path.appending("scratch \(UUID().uuidString)"))
        }
        try writer.describe(ErofsWriter.root, ErofsModel.plain(0o755))
        func name(_ index: Int) -> [UInt8] { Array("name \(index)".utf8) }
        // Not in the order of the names.
        for index in 0..<Self.names {
            let scattered = index * 7919 % Self.names
            try writer.addSpecial(.fifo, ErofsModel.plain(), as: name(scattered)[...], in: ErofsWriter.root)
        }
        #expect(writer.memoryUse < 64 * Self.names + (4 << 20))
        let summary = try writer.finish()
        let image = try ErofsImage(store, length: summary.length)
        let root = try image.root()
        #expect(image.inodeCount == UInt64(Self.names) + 1)
        for index in stride(from: 0, to: Self.names, by: 997) {
            #expect(try image.lookUp(name(index)[...], in: root)?.kind == .fifo)
        }
        #expect(try image.lookUp(name(Self.names)[...], in: root) == nil)
        var count = 0
        var walk = ErofsImage.Walk(image, from: root)
        while try walk.next() != nil { count += 1 }
        #expect(count == Self.names)
        if let fsck = ErofsTool.fsck.path {
            let result = try Command.run(fsck, path.string)
            #expect(result.status == 0, "\(result.report)")
        }
        guard TestEnvironment.canMountErofsDevice else { return }
        let mounted = try MountedErofs(path, in: temporary, onLoop: true)
        #expect(try mounted.root.names().count == Self.names)
        for index in stride(from: 0, to: Self.names, by: 997) {
            #expect(try mounted.root.status(of: FileName(name(index))!)?.kind == .fifo)
        }
        #expect(try mounted.root.status(of: FileName(name(Self.names))!) == nil)
    }

    @Test("Files of more than 4 GiB, and data after 4 GiB of tar", arguments: forms)
    func large(form: ErofsWriter.Form) throws {
        let temporary = try TemporaryDirectory(in: "/var/tmp")
        let path = temporary.path.appending("image")
        let store = try FileStore(path)
        var writer = try ErofsWriter(form, uuid: ErofsModel.uuid, image: store)
        try writer.describe(ErofsWriter.root, ErofsModel.plain(0o755))
        let size: UInt64 = 5 << 30
        let content = noise(5000)
        try writer.beginContent(size: size)
        try writer.append(content[...], at: 0)
        try writer.append(content[...], at: size - 5000)
        try writer.addRegular(ErofsModel.plain(), as: Array("sparse".utf8)[...], in: ErofsWriter.root)
        let tarLength = form == .tarBacked ? size : 0
        if form == .tarBacked {
            let isUsed1 = writer.useTar(at: size - 1024, size: 1000)
            #expect(isUsed1)
            try writer.addRegular(ErofsModel.plain(), as: Array("in tar".utf8)[...], in: ErofsWriter.root)
            let isUsed2 = writer.useTar(at: 0, size: size)
            #expect(isUsed2)
            try writer.addRegular(ErofsModel.plain(), as: Array("tar".utf8)[...], in: ErofsWriter.root)
            try store.write(Array(content[..<1000]), at: ErofsWriter.tarOffset + size - 1024)
        }
        let summary = try writer.finish(tarLength: tarLength)
        // Holes take no blocks: at most 1 MiB of the 10 GiB.
        #expect(try File.open(path, .read).status().blocks < 2048)

        let image = try ErofsImage(store, length: summary.length)
        #expect(image.tarLength == (form == .tarBacked ? size : nil))
        let entry = try #require(try image.lookUp(Array("sparse".utf8)[...], in: image.root()))
        var buffer = [UInt8]()
        try image.read(try image.node(of: entry), at: size - 5000, limit: 5000, into: &buffer)
        #expect(buffer == content)

        guard TestEnvironment.canMountErofsDevice else { return }
        let mounted = try MountedErofs(path, in: temporary, onLoop: true)
        func read(_ name: String, at position: UInt64, _ count: Int) throws -> [UInt8] {
            var bytes = [UInt8]()
            try mounted.root.openFile(FileName(literal: name)).read(
                into: &bytes, limit: count, at: Int64(position))
            return bytes
        }
        #expect(try mounted.root.status(of: FileName(literal: "sparse"))?.size == Int64(size))
        #expect(try read("sparse", at: 0, 5000) == content)
        #expect(try read("sparse", at: 3 << 30, 100) == [UInt8](repeating: 0, count: 100))
        #expect(try read("sparse", at: size - 5000, 6000) == content)
        if form == .tarBacked {
            #expect(try read("in tar", at: 0, 2000) == Array(content[..<1000]))
            #expect(try read("tar", at: size - 1024, 1000) == Array(content[..<1000]))
        }
    }
}
