package import Erofs
package import ErofsFiles
package import Kernel
package import SystemPackage

extension FileStore {
    /// A file as the store of an image or of scratch space.
    package convenience init(_ path: FilePath) throws {
        self.init(try File.open(path, .readWriteCreate, mode: 0o600))
    }
}

/// A program of erofs-utils that supports blocks of 512 bytes (1.6 and later): that of Debian's sid, which
/// `.ci/erofs-utils` fetches, or the installed one.
package enum ErofsTool: String {
    case fsck, dump, mkfs

    /// Path of the program; nil if there is none.
    package var path: String? { Self.paths[self] ?? nil }

    private static let paths: [ErofsTool: String?] = {
        let folders = [Built.repository.appending(".build/erofs-utils/bin").string, "/usr/bin", "/usr/sbin"]
        guard let temporary = try? TemporaryDirectory(), var model = try? ErofsModel(.tarBacked),
            let (image, summary) = try? model.finish()
        else { return [:] }
        var bytes = [UInt8]()
        try? image.read(Int(summary.length), at: 0, into: &bytes)
        guard let file = try? temporary.write("image", bytes) else { return [:] }
        let usable = folders.first { folder in
            (try? Command.run("\(folder)/fsck.erofs", file.string))?.status == 0
        }
        guard let usable else { return [:] }
        return [.fsck: "\(usable)/fsck.erofs", .dump: "\(usable)/dump.erofs", .mkfs: "\(usable)/mkfs.erofs"]
    }()
}

extension TestEnvironment {
    /// Whether the kernel mounts an EROFS image of a file with blocks of 512 bytes (Linux 6.12).
    package static let canMountErofsFile = mountsErofs(onLoop: false)
    /// Whether the kernel mounts an EROFS image on a loop device with blocks of 512 bytes (Linux 6.4).
    package static let canMountErofsDevice = mountsErofs(onLoop: true)

    /// Whether the kernel mounts an EROFS image with blocks of 512 bytes in any way.
    package static let canMountErofs = canMountErofsFile || canMountErofsDevice

    private static func mountsErofs(onLoop: Bool) -> Bool {
        guard var model = try? ErofsModel(.tarBacked), let (image, summary) = try? model.finish() else {
            return false
        }
        return (try? MountedErofs(image, length: summary.length, onLoop: onLoop)) != nil
    }
}

/// An image that the kernel has mounted, without a mount point.
package final class MountedErofs {
    package let root: Directory
    private let mount: DetachedMount
    private let temporary: TemporaryDirectory

    /// - Parameter onLoop: mounts a loop device instead of the file.
    package init(_ image: any ByteStore, length: UInt64, onLoop: Bool) throws {
        // The kernel refuses files on tmpfs.
        let temporary = try TemporaryDirectory(in: "/var/tmp")
        let path = temporary.path.appending("image")
        let file = try FileStore(path)
        var piece = [UInt8]()
        for offset in stride(from: 0, to: length, by: 1 << 20) {
            try image.read(Int(min(1 << 20, length - offset)), at: offset, into: &piece)
            if piece.contains(where: { $0 != 0 }) || offset + UInt64(piece.count) == length {
                try file.write(piece, at: offset)
            }
        }
        self.temporary = temporary
        mount = try Self.mount(path, onLoop: onLoop)
        root = mount.root
    }

    /// Mounts an image that is a file already.
    package init(_ path: FilePath, in temporary: TemporaryDirectory, onLoop: Bool) throws {
        self.temporary = temporary
        mount = try Self.mount(path, onLoop: onLoop)
        root = mount.root
    }

    private static func mount(_ path: FilePath, onLoop: Bool) throws -> DetachedMount {
        guard onLoop else {
            return try DetachedMount(type: "erofs", source: path, readOnly: true, options: [])
        }
        let device = try LoopDevice(of: path, readOnly: true)
        return try DetachedMount(type: "erofs", source: device.path, readOnly: true, options: [])
    }
}
