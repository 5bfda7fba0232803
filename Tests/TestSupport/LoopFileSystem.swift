import Kernel
package import SystemPackage

/// A file system for one test: an image in memory, mounted on a directory until this object is destroyed. Do not keep
/// it in a static variable, which is never destroyed: the mount would outlive the tests.
package final class LoopFileSystem: Sendable {
    /// The mount point.
    package let path: FilePath
    /// The image file.
    package let image: FilePath
    /// Name of the type for mkfs(8) and the kernel.
    package let type: String
    private let temporary: TemporaryDirectory

    /// - Parameters:
    ///   - type: name for mkfs(8) and the kernel; btrfs needs 110 MiB, xfs 300.
    ///   - megabytes: size in MiB; unwritten blocks take no memory.
    ///   - options: options of mkfs(8).
    ///   - mountFlags: options of mount(8) without a value.
    package init(type: String, megabytes: Int, options: [String] = [], mountFlags: [String] = []) throws {
        self.type = type
        temporary = try TemporaryDirectory(in: "/dev/shm")
        image = try temporary.write("image", [])
        path = try temporary.makeDirectory("mounted")
        try Self.format(image, type: type, megabytes: megabytes, options)
        try mount(mountFlags)
    }

    /// Mounts a copy of the current image of another file system, mounted or not: what its disk would hold after a
    /// power cut. Data that is only in the memory of the kernel is missing. fsfreeze(8) would write that data, too, so
    /// it is not used.
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
            // A lazy unmount takes effect when the test has closed its last file.
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

extension TestEnvironment {
    /// Whether loop devices can be made.
    package static let canMakeLoopDevices: Bool = {
        guard let temporary = try? TemporaryDirectory(in: "/dev/shm"),
            let file = try? temporary.write("file", Array(repeating: 0, count: 4096))
        else { return false }
        return (try? LoopDevice(of: file, readOnly: false)) != nil
    }()

    package static let canMountBtrfs = canMount("btrfs", megabytes: 128)
    /// Whether a btrfs and a copy of it can be mounted at the same time (Linux 6.7 and later).
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
