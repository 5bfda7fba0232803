import Foundation
import Kernel
import SystemPackage

/// A thin pool of the device mapper on files in memory, removed with this object and with every device in it.
package final class ThinPoolOnFiles: Sendable {
    package let name: String
    private let temporary: TemporaryDirectory

    /// - Parameter megabytes: size of the data in MiB; unwritten blocks take no memory.
    package init(megabytes: Int) throws {
        name = "test-\(UInt32.random(in: .min ... .max))"
        temporary = try TemporaryDirectory(in: "/dev/shm")
        let sizes = [("metadata", 8), ("data", megabytes)]
        let devices = try sizes.map { file, megabytes in
            let path = try temporary.write(file, [])
            try File.open(path, .readWrite).truncate(to: Int64(megabytes) << 20)
            return try LoopDevice(of: path, readOnly: false)
        }
        let paths = devices.map(\.path.string).joined(separator: " ")
        let table = "0 \(megabytes << 11) thin-pool \(paths) 128 0 1 error_if_no_space"
        // The pool keeps the loop devices from then on.
        try withExtendedLifetime(devices) {
            _ = try Self.dmsetup("create", name, "--table", table).succeed()
        }
    }

    deinit {
        let devices = (try? Self.dmsetup("ls").text.split(whereSeparator: \.isWhitespace)) ?? []
        // A device is busy until the kernel has ended the last unmount.
        for device in devices where device.hasPrefix("\(name)-") {
            _ = try? Self.dmsetup("remove", "--retry", String(device))
        }
        _ = try? Self.dmsetup("remove", "--retry", name)
    }

    /// Without udev, dmsetup(8) would wait for it.
    private static func dmsetup(_ arguments: String...) throws -> Command {
        try Command.run(["dmsetup"] + arguments, environment: ["DM_DISABLE_UDEV": "1"])
    }
}

extension TestEnvironment {
    /// Whether the kernel has thin pools; most have them as a module.
    package static let canMakeThinPools: Bool = {
        guard canMakeLoopDevices, has("dmsetup"), has("mkfs.ext4") else { return false }
        return (try? ThinPoolOnFiles(megabytes: 16)) != nil
    }()
}
