import Kernel
import SystemPackage
import TestSupport
import Testing

private func name(_ text: String) -> FileName { FileName(literal: text) }

@Suite("Detached mounts", .enabled(if: TestEnvironment.canMountExt4, "ext4 cannot be made and mounted here"))
struct DetachedMountTests {
    private let temporary: TemporaryDirectory
    private let image: FilePath

    init() throws {
        temporary = try TemporaryDirectory(in: "/dev/shm")
        image = temporary.path.appending("image")
        try LoopFileSystem.format(image, type: "ext4", megabytes: 32)
    }

    private func mount(readOnly: Bool, _ options: [(String, String?)] = []) throws -> DetachedMount {
        let device = try LoopDevice(of: image, readOnly: readOnly)
        return try DetachedMount(type: "ext4", source: device.path, readOnly: readOnly, options: options)
    }

    /// Mounts the image writable, and returns after it is unmounted.
    private func writing(
        _ options: [(String, String?)] = [], _ body: (DetachedMount) throws -> Void
    ) throws {
        let device: FilePath
        do {
            let source = try LoopDevice(of: image, readOnly: false)
            device = source.path
            try body(
                try DetachedMount(type: "ext4", source: device, readOnly: false, options: options))
        }
        #expect(try LoopDevice.isFreed(device, of: image))
    }

    @Test("A detached file system can be written, and appears in no mount table")
    func writes() throws {
        try writing([("nodelalloc", nil), ("commit", "30")]) { mount in
            #expect(try mount.root.names() == [name("lost+found")])
            let table = try File.contents(of: "/proc/self/mountinfo")
            try mount.root.makeDirectory(name("d"), mode: 0o750)
            let inner = try mount.root.open(name("d"))
            _ = try inner.createFile(name("f"), mode: 0o600)
            try inner.setMode(of: name("f"), 0o4711)
            try inner.setOwner(of: name("f"), uid: 3, gid: 4)
            try inner.setExtendedAttribute(AttributeName(literal: "trusted.t"), [1], of: name("f"))
            #expect(try inner.extendedAttributeNames(of: name("f")) == [AttributeName(literal: "trusted.t")])
            try mount.sync()
            #expect(!String(decoding: table, as: UTF8.self).contains(temporary.path.string))
        }
        let again = try mount(readOnly: true)
        #expect(try again.root.open(name("d")).status(of: name("f"))?.uid == 3)
        let failure = #expect(throws: SyscallFailure.self) {
            try again.root.makeDirectory(name("e"), mode: 0o700)
        }
        #expect(failure?.errno == .readOnlyFileSystem)
    }

    @Test("Open files keep a detached mount alive after its object is destroyed")
    func outlives() throws {
        let inner: Directory
        do {
            let mount = try mount(readOnly: false)
            try mount.root.makeDirectory(name("d"), mode: 0o700)
            inner = try mount.root.open(name("d"))
        }
        try inner.makeDirectory(name("e"), mode: 0o700)
        #expect(try inner.names() == [name("e")])
    }

    @Test("Repeated mounts leave the image clean; read-only ones do not change it")
    func reads() throws {
        for _ in 0..<5 { try writing { try $0.root.file.sync() } }
        let before = try File.contents(of: image)
        for _ in 0..<5 { _ = try mount(readOnly: true).root.names() }
        #expect(try File.contents(of: image) == before)
    }

    @Test("A wrong option, type or device is reported")
    func failing() throws {
        let option = #expect(throws: SyscallFailure.self) { try mount(readOnly: true, [("no-such", "x")]) }
        #expect(option?.errno == .invalidArgument)
        #expect(option?.path == "no-such=x")
        let type = #expect(throws: SyscallFailure.self) {
            try DetachedMount(type: "no-such", source: "/dev/loop0", readOnly: true, options: [])
        }
        #expect(type?.call == "fsopen")
        try File.open(image, .readWrite).truncate(to: 0)
        try File.open(image, .readWrite).truncate(to: 1 << 20)
        let empty = #expect(throws: SyscallFailure.self) { try mount(readOnly: true) }
        #expect(empty?.errno == .invalidArgument)
    }
}
