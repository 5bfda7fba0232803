package import Kernel
package import SystemPackage

/// The loop devices that are in use, as /sys/block shows them (loop(4)).
///
/// A device is freed by its last close, which may be a moment late: a child that is just being started has all
/// that its parent had open until it is another program.
package struct LoopTable: Sendable {
    private struct Device {
        let path: FilePath
        /// As the kernel shows it to this process.
        let file: FilePath
        let isReadOnly: Bool
    }

    private var devices = [Device]()

    package static func read() throws(SyscallFailure) -> LoopTable {
        let folder: FilePath = "/sys/block"
        var table = LoopTable()
        for name in try Directory(opening: folder).names() where name.hasPrefix("loop") {
            let device = folder.appending("\(name)")
            do throws(SyscallFailure) {
                // Without a line's end, which could not be told from one in the name otherwise.
                let file = try File.contents(of: device.appending("loop").appending("backing_file"))
                    .dropLast()
                let isReadOnly = try File.contents(of: device.appending("ro")).first == UInt8(ascii: "1")
                table.devices.append(
                    Device(
                        path: FilePath("/dev").appending("\(name)"),
                        file: FilePath(String(decoding: file, as: UTF8.self)), isReadOnly: isReadOnly))
            } catch {
                // Nobody uses it, or somebody has just freed it.
                let isFree =
                    error.isMissing || error.errno == .noSuchAddressOrDevice
                    || error.errno == .operationNotSupportedByDevice
                if !isFree { throw error }
            }
        }
        return table
    }

    /// The file behind a loop device, which may be known by any node; nil for a device of another kind, and a free one.
    package static func file(of device: FilePath) throws(SyscallFailure) -> FilePath? {
        guard case .block(let number) = try File.status(of: device).kind else { return nil }
        let entry = FilePath("/sys/dev/block/\(number.major):\(number.minor)")
        guard let file = try? File.contents(of: entry.appending("loop/backing_file")) else { return nil }
        return FilePath(String(decoding: file.dropLast(), as: UTF8.self))
    }

    /// The files in a directory and below it that are behind devices, by device.
    func files(below directory: FilePath) -> [FilePath: FilePath] {
        let below = devices.filter { $0.file.starts(with: directory) }
        return Dictionary(below.map { ($0.path, $0.file) }) { first, _ in first }
    }

    /// The devices that a file is behind: those that may write to it, or all.
    package func devices(of file: FilePath, onlyWriters: Bool) throws(SyscallFailure) -> [FilePath] {
        devices(of: try File.status(of: file).identity, onlyWriters: onlyWriters)
    }

    package func devices(of identity: FileStatus.Identity, onlyWriters: Bool) -> [FilePath] {
        devices.filter { device in
            if onlyWriters, device.isReadOnly { return false }
            // One that cannot be opened is no longer there, or was never seen by this process.
            let other = try? File.status(of: device.file).identity
            return other == identity
        }
        .map(\.path)
    }
}
