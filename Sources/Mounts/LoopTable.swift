internal import Kernel
internal import SystemPackage

/// The loop devices that are in use, as /sys/block shows them (loop(4)).
struct LoopTable {
    private struct Device {
        let path: FilePath
        /// As the kernel shows it to this process.
        let file: FilePath
        let isReadOnly: Bool
    }

    private var devices = [Device]()

    static func read() throws(SyscallFailure) -> LoopTable {
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
                if !error.isMissing { throw error }
            }
        }
        return table
    }

    /// The devices whose file lies in a directory or below it.
    func devices(below directory: FilePath) -> [FilePath] {
        devices.filter { $0.file.starts(with: directory) }.map(\.path)
    }

    /// A device, other than one's own, that may write to a file.
    func writer(of file: FilePath, except own: FilePath) throws(SyscallFailure) -> FilePath? {
        let identity = try File.open(file, .read).status().identity
        for device in devices where !device.isReadOnly && device.path != own {
            let other = try? File.open(device.file, .read).status().identity
            if other == identity { return device.path }
        }
        return nil
    }
}
