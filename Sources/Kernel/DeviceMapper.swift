internal import CKernel
internal import Glibc
internal import SystemPackage

/// Devices of the device mapper (linux/dm-ioctl.h; kernel: Documentation/admin-guide/device-mapper). They belong to the
/// machine: they stay until they are removed, or the machine is restarted.
///
/// Every call needs root with CAP_SYS_ADMIN.
package final class DeviceMapper: Sendable {
    private let control: File

    /// - Throws: ENODEV without a kernel that has the device mapper, EACCES without root.
    package init() throws(SyscallFailure) {
        do {
            control = try File.open(Self.control, .readWrite)
        } catch {
            // The command does not name this file: that it is missing is no mistake of the user.
            guard error.isMissing else { throw error }
            throw SyscallFailure(
                error.call, path: Self.control.string, errno: .operationNotSupportedByDevice)
        }
    }

    private static let control: FilePath = "/dev/mapper/control"

    /// The state of a device.
    package struct Device: Equatable, Sendable {
        package let number: DeviceNumber
        /// Who created it, in the form that its creator has chosen; may be empty.
        package let uuid: String
        /// Mounts and other devices on it, and processes that have it open.
        package let openCount: Int
        package let isReadOnly: Bool
        /// Whether it can be read and written: a device that was only created has no table.
        package let hasTable: Bool
        package let isSuspended: Bool
        /// Whether it is removed as soon as nothing uses it.
        package let isRemovedAfterUse: Bool

        fileprivate init(_ answer: ck_dm_answer) {
            let device = dev_t(answer.device)
            number = DeviceNumber(major: ck_major(device), minor: ck_minor(device))
            uuid = withUnsafeBytes(of: answer.uuid) { String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self) }
            openCount = Int(answer.open_count)
            isReadOnly = answer.has(ck_dm_is_read_only)
            hasTable = answer.has(ck_dm_has_table)
            isSuspended = answer.has(ck_dm_is_suspended)
            isRemovedAfterUse = answer.has(ck_dm_is_deferred)
        }
    }

    /// The first target of a device's table.
    package struct Target: Equatable, Sendable {
        /// E.g. `thin-pool`.
        package let type: String
        /// In sectors of 512 bytes.
        package let length: UInt64
        /// As the kernel's documentation of the target describes it.
        package let status: String
    }

    /// Returns the state of a device; nil if there is none of that name.
    package func device(_ name: String) throws(SyscallFailure) -> Device? {
        do {
            return Device(try run(ck_dm_device_status, "DM_DEV_STATUS", name))
        } catch {
            if error.errno == .noSuchAddressOrDevice { return nil }
            throw error
        }
    }

    /// Creates a device without a table.
    ///
    /// - Throws: EBUSY if the name or the UUID is taken.
    package func create(_ name: String, uuid: String) throws(SyscallFailure) {
        try run(ck_dm_create, "DM_DEV_CREATE", name, uuid: uuid)
    }

    /// Gives a device a table of one target, which is used from the next `resume` on.
    ///
    /// - Parameters:
    ///   - length: in sectors of 512 bytes.
    ///   - parameters: as the kernel's documentation of the target describes them.
    package func load(
        _ name: String, _ type: String, length: UInt64, _ parameters: String, readOnly: Bool
    ) throws(SyscallFailure) {
        try run(
            ck_dm_load, "DM_TABLE_LOAD", name, flags: readOnly ? ck_dm_is_read_only : nil,
            target: (type, length), text: parameters)
    }

    /// Completes the writes to a device, and holds later ones back.
    package func suspend(_ name: String) throws(SyscallFailure) {
        try run(ck_dm_suspend, "DM_DEV_SUSPEND", name, flags: ck_dm_is_suspended)
    }

    /// Puts a loaded table to use, and ends a suspension.
    package func resume(_ name: String) throws(SyscallFailure) {
        try run(ck_dm_suspend, "DM_DEV_SUSPEND", name, event: Self.udevFlags)
    }

    /// The flags DM_UDEV_PRIMARY_SOURCE_FLAG, and those that turn off all rules but the one that makes the node in
    /// /dev/mapper (libdevmapper.h): no program reads the device, which would keep it from being removed.
    private static let udevFlags: UInt32 = (0x40 | 0x10 | 0x08 | 0x04 | 0x02) << 16

    /// Removes a device.
    ///
    /// - Parameter afterUse: whether a device that is used is removed when its use ends.
    /// - Throws: EBUSY for a device that is used; ENXIO if there is none of that name.
    package func remove(_ name: String, afterUse: Bool = false) throws(SyscallFailure) {
        try run(
            ck_dm_remove, "DM_DEV_REMOVE", name, flags: afterUse ? ck_dm_is_deferred : nil,
            event: Self.udevFlags)
    }

    /// Keeps a device whose removal waits for the end of its use.
    package func keep(_ name: String) throws(SyscallFailure) { try send("@cancel_deferred_remove", to: name) }

    /// Sends a message to the target of a device.
    package func send(_ message: String, to name: String) throws(SyscallFailure) {
        try run(ck_dm_message, "DM_TARGET_MSG \(message)", name, text: message)
    }

    /// - Throws: ENXIO if there is no such device.
    package func target(of name: String) throws(SyscallFailure) -> Target {
        let answer = try run(ck_dm_table_status, "DM_TABLE_STATUS", name)
        func text(_ bytes: UnsafeRawBufferPointer) -> String {
            String(decoding: bytes.prefix { $0 != 0 }, as: UTF8.self)
        }
        return Target(
            type: withUnsafeBytes(of: answer.target_type, text), length: answer.length,
            status: withUnsafeBytes(of: answer.text, text))
    }

    @discardableResult
    private func run(
        _ command: ck_dm_command, _ call: String, _ name: String, uuid: String? = nil,
        flags: ck_dm_flag? = nil, event: UInt32 = 0, target: (type: String, length: UInt64)? = nil,
        text: String? = nil
    ) throws(SyscallFailure) -> ck_dm_answer {
        var answer = ck_dm_answer()
        try syscall("ioctl", "\(name): \(call)") {
            ck_device_mapper(
                control.raw, command.rawValue, name, uuid, flags?.rawValue ?? 0, event, target?.type,
                target?.length ?? 0, text, &answer)
        }
        return answer
    }
}

extension ck_dm_answer {
    fileprivate func has(_ flag: ck_dm_flag) -> Bool { flags & flag.rawValue != 0 }
}
