import Kernel
package import SystemPackage

/// A file system of a test's own: an image in memory, mounted on a directory until this goes. So it must not be kept in
/// a static variable, which never goes: the mount would outlive the tests.
package final class LoopFileSystem: Sendable {
    /// Where it is mounted.
    package let path: FilePath
    /// The file that holds it.
    package let image: FilePath
    /// As mkfs(8) and the kernel call it.
    package let type: String
    private let temporary: TemporaryDirectory

    /// - Parameters:
    ///   - type: as mkfs(8) and the kernel call it; btrfs needs 110 MiB, xfs 300.
    ///   - megabytes: its size; what is not written takes no memory.
    ///   - options: of mkfs(8).
    ///   - mountFlags: options of mount(8) without a value.
    package init(type: String, megabytes: Int, options: [String] = [], mountFlags: [String] = []) throws {
        self.type = type
        temporary = try TemporaryDirectory(in: "/dev/shm")
        image = try temporary.write("image", [])
        path = try temporary.makeDirectory("mounted")
        try Self.format(image, type: type, megabytes: megabytes, options)
        try mount(mountFlags)
    }

    /// Mounts a copy of another one's image as it is now, mounted or not: what its disk would have if the power were cut.
    /// What the kernel only remembers is not in it. Asking the file system to hold still (fsfreeze) would write that, too.
    package init(type: String, cutFrom other: FilePath) throws {
        self.type = type
        temporary = try TemporaryDirectory(in: "/dev/shm")
        image = temporary.path.appending("image")
        path = try temporary.makeDirectory("mounted")
        try Command.run("cp", "--sparse=always", other.string, image.string).succeed()
        try mount()
    }

    private func mount(_ flags: [String] = []) throws {
        let device = try LoopDevice(of: image, readOnly: false)
        let context = try MountCalls.Context(type: type)
        try context.set("source", device.path)
        for flag in flags { try context.set(flag, nil) }
        try context.mount(on: path, readOnly: false)
    }

    deinit {
        do {
            try MountCalls.unmount(path)
        } catch {
            // It goes when what the test still has open is closed.
            _ = try? Command.run("umount", "-l", path.string)
        }
    }

    /// Makes an image without mounting it.
    package static func format(
        _ image: FilePath, type: String, megabytes: Int, _ options: [String] = []
    ) throws {
        try File.open(image, .readWriteCreate, mode: 0o600).truncate(to: Int64(megabytes) << 20)
        let quiet = type == "ext4" ? ["-q", "-F"] : ["-q"]
        try Command.run(["mkfs.\(type)"] + quiet + options + [image.string]).succeed()
    }
}

extension Ability {
    /// Whether a file can be a block device here.
    package static let canMakeLoopDevices: Bool = {
        guard let temporary = try? TemporaryDirectory(in: "/dev/shm"),
            let file = try? temporary.write("file", Array(repeating: 0, count: 4096))
        else { return false }
        return (try? LoopDevice(of: file, readOnly: false)) != nil
    }()

    package static let canMountBtrfs = canMount("btrfs", megabytes: 128)
    /// Whether one and its copy can be mounted at a time: from Linux 6.7 on.
    package static let canMountCopiesOfBtrfs: Bool = {
        guard canMountBtrfs, let one = try? LoopFileSystem(type: "btrfs", megabytes: 128) else {
            return false
        }
        return (try? LoopFileSystem(type: "btrfs", cutFrom: one.image)) != nil
    }()
    package static let canMountExt4 = canMount("ext4", megabytes: 16)
    package static let canMountXFS = canMount("xfs", megabytes: 320)

    private static func canMount(_ type: String, megabytes: Int) -> Bool {
        canMakeLoopDevices && has("mkfs.\(type)")
            && (try? LoopFileSystem(type: type, megabytes: megabytes)) != nil
    }
}
