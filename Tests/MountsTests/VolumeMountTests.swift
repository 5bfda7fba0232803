import Kernel
import Mounts
import Streams
import SystemPackage
import TestSupport
import Testing

private func name(_ text: String) -> FileName { FileName(literal: text) }

/// Whether this program performs the mount, or mount(8) runs the printed line.
private enum MountMethod: CaseIterable { case performed, mountCommand }

/// Performs mounts, passes the tree to `body`, and unmounts it.
private func mounted<Result>(
    _ mounts: [Mount], _ method: MountMethod, on target: FilePath, _ body: (Directory) throws -> Result
) throws -> Result {
    switch method {
    case .performed: try MountPerformer.perform(mounts, form: .joined, folder: "/", on: target)
    case .mountCommand:
        let line = try MountLine(mounts, form: .joined, target: target, performed: ["false"])
        try Command.run(line.words.map(\.text)).succeed()
    }
    let result = Swift.Result { try body(try Directory(opening: target)) }
    for _ in mounts { try unmountWhenFree(target) }
    return try result.get()
}

private func expectReadOnly(_ tree: Directory, _ readOnly: Bool) throws {
    if readOnly {
        let failure = #expect(throws: SyscallFailure.self) {
            try tree.makeDirectory(name("new"), mode: 0o700)
        }
        #expect(failure?.errno == .readOnlyFileSystem)
    } else {
        try tree.makeDirectory(name("new"), mode: 0o700)
    }
}

@Suite(
    "Mounting subvolumes",
    .enabled(if: TestEnvironment.canMountBtrfs, "btrfs cannot be made and mounted here"))
struct SubvolumeMountTests {
    private let system: LoopFileSystem
    private let temporary: TemporaryDirectory
    private let target: FilePath
    private let device: FilePath

    init() throws {
        system = try LoopFileSystem(type: "btrfs", megabytes: 128)
        temporary = try TemporaryDirectory()
        target = try temporary.makeDirectory("target")
        device = try #require(try MountTable.read().device(holding: system.path, type: "btrfs"))
        let top = try Directory(opening: system.path)
        try top.makeSubvolume(name("a"))
        try top.open(name("a")).makeDirectory(name("d"), mode: 0o700)
    }

    @Test(
        "A single subvolume is mounted, read-only or writable", arguments: [true, false], MountMethod.allCases
    )
    private func mounts(readOnly: Bool, method: MountMethod) throws {
        let a = system.path.appending("a")
        let id = try Directory(opening: a).subvolumeID()
        let mount = Mount.subvolume(device: device, id: id, readOnly: readOnly)
        #expect(try MountTable.read().users(below: a).isEmpty)
        try mounted([mount], method, on: target) { tree in
            #expect(try tree.names() == [name("d")])
            #expect(try tree.subvolumeID() == id)
            try expectReadOnly(tree, readOnly)
            let place = try target.resolved()
            #expect(try MountTable.read().users(below: a).map(\.target) == [place])
        }
        // The mount was read-only, not the file system.
        _ = try Directory(opening: a).createFile(name("after"), mode: 0o600)
    }

    @Test("A missing subvolume is reported")
    func missing() throws {
        #expect(throws: MountPerformer.Failure.self) {
            try mounted(
                [.subvolume(device: device, id: 4000, readOnly: true)], .performed, on: target
            ) { _ in }
        }
    }
}

@Suite("Mounting images", .enabled(if: TestEnvironment.canMountExt4, "ext4 cannot be made and mounted here"))
struct ImageMountTests {
    private let temporary: TemporaryDirectory
    private let image: FilePath
    private let target: FilePath

    init() throws {
        temporary = try TemporaryDirectory(in: "/dev/shm")
        image = temporary.path.appending("image")
        target = try temporary.makeDirectory("target")
        try LoopFileSystem.format(image, type: "ext4", megabytes: 32)
    }

    private func mount(readOnly: Bool, _ options: [String] = []) -> Mount {
        .image(file: image, type: "ext4", readOnly: readOnly, options: options)
    }

    @Test(
        "An image is mounted, and does not change if it is read-only", arguments: [true, false],
        MountMethod.allCases)
    private func mounts(readOnly: Bool, method: MountMethod) throws {
        let before = try File.contents(of: image)
        let mounts = [mount(readOnly: readOnly, readOnly ? ["noload"] : ["commit=20"])]
        try mounted(mounts, method, on: target) { tree in
            #expect(try tree.names() == [name("lost+found")])
            try expectReadOnly(tree, readOnly)
        }
        let isSame = try File.contents(of: image) == before
        #expect(isSame == readOnly)
    }

    @Test("If one of several mounts fails, none stays")
    func several() throws {
        let other = try temporary.makeDirectory("other")
        let bind = Mount.bind(source: other, readOnly: true)
        #expect(throws: MountPerformer.Failure.self) {
            try MountPerformer.perform(
                [
                    mount(readOnly: true), bind,
                    .image(file: other, type: "ext4", readOnly: true, options: []),
                ],
                form: .joined, folder: "/", on: target)
        }
        #expect(try Directory(opening: target).names() == [])
        try mounted([mount(readOnly: true), bind], .performed, on: target) { tree in
            let names = try tree.names()
            #expect(names == [])
        }
    }

    @Test("An image that is mounted writable is not mounted writable again", arguments: MountMethod.allCases)
    private func inUse(method: MountMethod) throws {
        let second = try temporary.makeDirectory("second")
        func refusal() throws -> FilePath?? {
            let failure = #expect(throws: MountPerformer.Failure.self) {
                try MountPerformer.perform(
                    mount(readOnly: false), form: .joined, folder: "/", on: second)
            }
            guard case .inUse(let target) = failure else { return nil }
            return .some(target)
        }
        try mounted([mount(readOnly: false)], method, on: target) { _ in
            let place = try target.resolved()
            #expect(try refusal() == .some(place))
        }
        do {
            let device = try LoopDevice(of: image, readOnly: false)
            let detached = try DetachedMount(
                type: "ext4", source: device.path, readOnly: false, options: [])
            #expect(try refusal() == .some(nil), "a detached mount has no mount point")
            let devices = try LoopTable.read().devices(of: image, onlyWriters: true)
            #expect(devices == [device.path])
            try detached.sync()
        }
        // A child process that another test starts may hold the detached mount for a moment. The journal is not empty
        // before that mount is gone.
        while try !LoopTable.read().devices(of: image, onlyWriters: true).isEmpty {
            Process.sleep(milliseconds: 5)
        }
        try mounted([mount(readOnly: true)], method, on: target) { _ in
            try mounted([mount(readOnly: true)], method, on: second) { _ in }
        }
        try mounted([mount(readOnly: false)], method, on: second) { _ in }
    }

    @Test("A mount waits for an image that was unmounted a moment ago")
    func lateRelease() throws {
        let isHeld = Promise<Bool>()
        let late = try WorkerThread { [image] in
            let device = try LoopDevice(of: image, readOnly: false)
            let detached = try DetachedMount(
                type: "ext4", source: device.path, readOnly: false, options: [])
            isHeld.fulfil(true)
            Process.sleep(milliseconds: 300)
            withExtendedLifetime((device, detached)) {}
        }
        _ = isHeld.wait()
        try mounted([mount(readOnly: false)], .performed, on: target) { _ in }
        try late.join()
    }
}
