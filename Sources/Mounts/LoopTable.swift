package import Kernel
package import SystemPackage

/// The loop devices in use, as /sys/block lists them (loop(4)).
///
/// The last close of a device frees it. That can be late by a moment: between fork and exec a child process holds
/// every descriptor of its parent.
package struct LoopTable: Sendable {
    private struct Device {
        let path: FilePath
        /// The backing file, as a path that this process sees.
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
                // Only the final newline is dropped: a file name may end in one.
                let file = try File.contents(of: device.appending("loop").appending("backing_file"))
                    .dropLast()
                let isReadOnly = try File.contents(of: device.appending("ro")).first == UInt8(ascii: "1")
                table.devices.append(
                    Device(
                        path: FilePath("/dev").appending("\(name)"),
                        file: FilePath(String(decoding: file, as: UTF8.self)), isReadOnly: isReadOnly))
            } catch {
                // The device is free, or was freed after the directory was listed.
                let isFree =
                    error.isMissing || error.errno == .noSuchAddressOrDevice
                    || error.errno == .operationNotSupportedByDevice
                if !isFree { throw error }
            }
        }
        return table
    }

    /// Returns the backing file of a loop device, under whatever name the device node has.
    ///
    /// - Returns: nil for a free loop device or a device of another kind.
    package static func file(of device: FilePath) throws(SyscallFailure) -> FilePath? {
        guard case .block(let number) = try File.status(of: device).kind else { return nil }
        let entry = FilePath("/sys/dev/block/\(number.major):\(number.minor)")
        guard let file = try? File.contents(of: entry.appending("loop/backing_file")) else { return nil }
        return FilePath(String(decoding: file.dropLast(), as: UTF8.self))
    }

    /// Returns the backing files at or below a directory, by the path of their device.
    func files(below directory: FilePath) -> [FilePath: FilePath] {
        let below = devices.filter { $0.file.starts(with: directory) }
        return Dictionary(below.map { ($0.path, $0.file) }) { first, _ in first }
    }

    /// Returns the devices that have a file as their backing file: all of them, or only the writable ones.
    package func devices(of file: FilePath, onlyWriters: Bool) throws(SyscallFailure) -> [FilePath] {
        devices(of: try File.status(of: file).identity, onlyWriters: onlyWriters)
    }

    package func devices(of identity: FileStatus.Identity, onlyWriters: Bool) -> [FilePath] {
        devices.filter { device in
            if onlyWriters, device.isReadOnly { return false }
            // The backing file was deleted, or this process has never seen it.
            let other = try? File.status(of: device.file).identity
            return other == identity
        }
        .map(\.path)
    }
}
