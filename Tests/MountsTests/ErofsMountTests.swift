import Erofs
import Kernel
import Mounts
import SystemPackage
import TestSupport
import Testing

@Suite(
    "Mounting EROFS images",
    .enabled(if: TestEnvironment.canMountErofsDevice, "EROFS images cannot be mounted here"))
struct ErofsMountTests {
    /// File systems for the images: the kernel mounts a file on most of them, and on tmpfs only a loop device of it.
    private static let places: [FilePath] = ["/var/tmp", "/dev/shm"]
    private static let forms: [Mount.LowerForm] =
        Mount.LowerForm.ofThisKernel == .appended ? [.joined, .appended] : [.joined]

    /// Images `ID/layer.erofs`, topmost first, each with a file of its own and the file `same`.
    private func images(_ count: Int, in temporary: TemporaryDirectory) throws -> [FilePath] {
        try (0..<count).reversed().map { number in
            let folder = try temporary.makeDirectory("\(number)")
            _ = try temporary.makeDirectory("\(number)/fs")
            var model = try ErofsModel(.tarBacked)
            for name in ["own-\(number)", "same"] {
                let bytes = Array("\(number)".utf8)
                try model.addRegular(
                    Bytes(name), size: UInt64(bytes.count), pieces: [(offset: 0, bytes: bytes)])
            }
            let (store, summary) = try model.finish()
            var bytes = [UInt8]()
            try store.read(Int(summary.length), at: 0, into: &bytes)
            let path = folder.appending("layer.erofs")
            let file = try File.open(path, .readWriteCreate, mode: 0o400)
            try bytes.withRawSpan { try file.write($0, at: 0) }
            return path
        }
    }

    private func contents(of name: String, in root: Directory) throws -> String {
        var bytes = [UInt8]()
        try root.openFile(FileName(literal: name)).read(into: &bytes, limit: 100)
        return String(decoding: bytes, as: UTF8.self)
    }

    @Test(
        "One image is mounted, from a file or a loop device, and the mount table shows its file",
        arguments: places)
    func single(place: FilePath) throws {
        let temporary = try TemporaryDirectory(in: place)
        let image = try images(1, in: temporary)[0]
        let target = try temporary.makeDirectory("target")
        let mount = Mount.image(file: image, type: "erofs", readOnly: true, options: [])
        try MountPerformer.perform(mount, form: .ofThisKernel, folder: "/", on: target)
        let shown = Result { () throws in
            #expect(try contents(of: "same", in: Directory(opening: target)) == "0")
            let users = try MountTable.read().users(below: temporary.path.appending("0").resolved())
            #expect(users.map(\.target) == [try target.resolved()])
        }
        try unmountWhenFree(target)
        try shown.get()
        let tree = try mount.openTree()
        #expect(try contents(of: "same", in: tree.root) == "0")
    }

    @Test(
        "A stack of images is mounted on one directory, and one unmount takes all of it down",
        arguments: places, forms)
    func stack(place: FilePath, form: Mount.LowerForm) throws {
        for count in [2, 3, 40] {
            let temporary = try TemporaryDirectory(in: place)
            let stack = Mount.imageStack(
                try images(count, in: temporary), writable: nil, noIndex: true)
            let target = try temporary.makeDirectory("target")
            try MountPerformer.perform(stack, form: form, folder: "/", on: target)
            let shown = Result { () throws in
                let root = try Directory(opening: target)
                #expect(try root.names().count == count + 1)
                #expect(try contents(of: "same", in: root) == "\(count - 1)")
                // What uses the topmost image is known.
                let top = try temporary.path.appending("\(count - 1)").resolved()
                #expect(try MountTable.read().users(below: top).map(\.target) == [try target.resolved()])
            }
            try unmountWhenFree(target)
            try shown.get()
            #expect(try MountTable.read().users(below: temporary.path.resolved()).isEmpty)
        }
    }

    @Test("A writable directory lies on one image or several", arguments: [1, 3], forms)
    func writable(count: Int, form: Mount.LowerForm) throws {
        let temporary = try TemporaryDirectory(in: "/var/tmp")
        let images = try images(count, in: temporary)
        let writable = Mount.Writable(
            upper: try temporary.makeDirectory("upper"), work: try temporary.makeDirectory("work"))
        let stack = Mount.imageStack(images, writable: writable, noIndex: true)
        let target = try temporary.makeDirectory("target")
        try MountPerformer.perform(stack, form: form, folder: "/", on: target)
        let written = Result { () throws in
            let root = try Directory(opening: target)
            _ = try root.createFile(FileName(literal: "new"), mode: 0o600)
            try root.removeTree(FileName(literal: "same"))
            #expect(throws: MountPerformer.Failure.self) {
                try MountPerformer.perform(stack, form: form, folder: "/", on: target)
            }
        }
        try unmountWhenFree(target)
        try written.get()
        #expect(try Directory(opening: writable.upper).names().count == 2)
        #expect(try stack.openTree().root.names().count == count + 1)
    }

    @Test("A damaged image fails the mount of its stack, and nothing stays mounted", arguments: forms)
    func damaged(form: Mount.LowerForm) throws {
        let temporary = try TemporaryDirectory(in: "/var/tmp")
        let images = try images(3, in: temporary)
        try File.open(images[2], .readWriteCreate, mode: 0o400).truncate(to: 100)
        let target = try temporary.makeDirectory("target")
        let stack = Mount.imageStack(images, writable: nil, noIndex: true)
        #expect(throws: MountPerformer.Failure.self) {
            try MountPerformer.perform(stack, form: form, folder: "/", on: target)
        }
        #expect(try MountTable.read().users(below: temporary.path.resolved()).isEmpty)
    }

    @Test("The parts of a stack are mounted one by one, as mount(8) can")
    func parts() throws {
        let temporary = try TemporaryDirectory(in: "/var/tmp")
        let target = try temporary.makeDirectory("target")
        let stack = Mount.imageStack(try images(3, in: temporary), writable: nil, noIndex: true)
        let parts = stack.parts
        #expect(parts.count == 4 && parts.last?.target == nil)
        for (mount, own) in parts {
            let line = try MountLine(mount, form: .joined, target: own ?? target, performed: ["false"])
            try Command.run(line.words.map(\.text)).succeed()
        }
        let shown = Result { () throws in
            #expect(try contents(of: "same", in: Directory(opening: target)) == "2")
        }
        for (_, own) in parts.reversed() { try unmountWhenFree(own ?? target) }
        try shown.get()
    }

    @Test("No single line has a stack: this program performs it")
    func performed() throws {
        let stack = Mount.imageStack(["/s/2/layer.erofs", "/s/1/layer.erofs"], writable: nil, noIndex: true)
        let line = try MountLine(stack, form: .appended, target: "/m", performed: ["unpack", "mount"])
        #expect(line.text == "unpack mount /m")
        #expect(throws: MountLine.Failure.self) { try FstabLine(stack, form: .appended, target: "/m") }
        #expect(throws: MountLine.Failure.self) { try MstackScript(stack, target: "/m.mstack") }
    }
}
