internal import Kernel
internal import SystemPackage

/// The thin devices of one store in a pool of the device mapper, which its administrator has made (kernel:
/// Documentation/admin-guide/device-mapper/thin-provisioning.rst).
///
/// A thin device exists in the pool under a number, whether the kernel has a block device for it (it is active) or not.
/// Numbers are those of snapshots, so that every step can be repeated: what the pool has under the number of an
/// unfinished snapshot is deleted first.
struct ThinPool: Sendable {
    /// The number of a thin device: 24 bits.
    typealias Number = Int64
    static let maximumNumber: Number = (1 << 24) - 1

    let name: String
    /// Distinguishes this store from all others that ever used the pool. The pool has it as its transaction ID.
    let owner: UInt64
    private let mapper: DeviceMapper
    /// Has the file that is locked while devices are activated or removed.
    private let folder: Directory

    init(_ name: String, owner: UInt64, in folder: Directory) throws(SyscallFailure) {
        self.name = name
        self.owner = owner
        self.folder = folder
        mapper = try DeviceMapper()
    }

    // MARK: State

    struct Status: Equatable, Sendable {
        enum Mode: String, Sendable {
            case writable = "rw"
            case readOnly = "ro"
            case full = "out_of_data_space"
            case failed = "Fail"
        }

        let transaction: UInt64
        /// Blocks of data.
        let used: Int64
        let total: Int64
        let mode: Mode
        let needsCheck: Bool

        /// - Parameter text: `<transaction> <used>/<total metadata> <used>/<total data> <root> <mode> … needs_check|- …`.
        init?(_ text: String) {
            let words = text.split(separator: " ")
            if let first = words.first, Mode(rawValue: String(first)) == .failed || first == "Error" {
                self.init(transaction: 0, used: 0, total: 0, mode: .failed, needsCheck: true)
                return
            }
            guard words.count >= 5, let transaction = UInt64(words[0]),
                let mode = Mode(rawValue: String(words[4]))
            else { return nil }
            let data = words[2].split(separator: "/").compactMap { Int64($0) }
            guard data.count == 2 else { return nil }
            self.init(
                transaction: transaction, used: data[0], total: data[1], mode: mode,
                needsCheck: words.contains("needs_check"))
        }

        private init(transaction: UInt64, used: Int64, total: Int64, mode: Mode, needsCheck: Bool) {
            self.transaction = transaction
            self.used = used
            self.total = total
            self.mode = mode
            self.needsCheck = needsCheck
        }

        /// Why nothing can be written; nil if it can.
        var fault: Fault? {
            if needsCheck || mode == .failed {
                return Fault(
                    reason: "needs a check",
                    remedy: "deactivate it, and run thin_check and thin_repair on its metadata")
            }
            if mode == .readOnly { return Fault(reason: "is read-only", remedy: "activate it writable") }
            if mode == .writable, used < total { return nil }
            return Fault(reason: "is full", remedy: "extend it, or remove snapshots from it")
        }
    }

    /// Why a pool cannot take snapshots; nil if it can.
    static func fault(of name: String) -> Fault? {
        do {
            let target = try DeviceMapper().target(of: name)
            guard target.type == "thin-pool", let status = Status(target.status) else {
                return Fault(
                    reason: "the device '\(escaped(name.utf8))' is no thin pool",
                    remedy: "'dmsetup status' lists the pools; name one with --pool")
            }
            return status.fault.map {
                Fault(reason: "the thin pool '\(escaped(name.utf8))' \($0.reason)", remedy: $0.remedy)
            }
        } catch {
            let isGone = error.errno == .noSuchAddressOrDevice
            return Fault(
                reason: isGone
                    ? "there is no thin pool '\(escaped(name.utf8))'"
                    : "the device mapper cannot be used: \(error)",
                remedy: isGone
                    ? "'dmsetup status' lists the pools; name one with --pool"
                    : "it needs root and /dev/mapper/control, as in a privileged container")
        }
    }

    struct Fault {
        let reason: String
        let remedy: String
    }

    /// - Throws: ENXIO if there is no such device.
    func target() throws(SyscallFailure) -> DeviceMapper.Target { try mapper.target(of: name) }

    /// Bytes of data that the pool has free.
    func freeBytes() throws(SyscallFailure) -> Int64 {
        let target = try target()
        guard let status = Status(target.status), status.total > 0 else { return 0 }
        let blockSize = Int64(target.length) * FileStatus.blockSize / status.total
        return (status.total - status.used) * blockSize
    }

    // MARK: Messages

    /// Makes the pool that of this store, which no store has used yet.
    func claim() throws(SyscallFailure) { try mapper.send("set_transaction_id 0 \(owner)", to: name) }

    /// Makes a thin device without content.
    func make(_ number: Number) throws(SyscallFailure) {
        try replacing(number) { () throws(SyscallFailure) in
            try mapper.send("create_thin \(number)", to: name)
        }
    }

    /// Makes a thin device with the content of another one.
    func makeSnapshot(_ number: Number, of origin: Number) throws(SyscallFailure) {
        try replacing(number) { () throws(SyscallFailure) in
            try locked { () throws(SyscallFailure) in
                // The kernel requires it of an active origin, even if it is not written to.
                let device = try mapper.device(deviceName(origin)).flatMap { $0.hasTable ? $0 : nil }
                if device != nil { try mapper.suspend(deviceName(origin)) }
                let result = Result { () throws(SyscallFailure) in
                    try mapper.send("create_snap \(number) \(origin)", to: name)
                }
                if device != nil { try mapper.resume(deviceName(origin)) }
                try result.get()
            }
        }
    }

    /// Runs a step that makes a thin device; what an interrupted step has left under its number is deleted.
    private func replacing(
        _ number: Number, _ make: () throws(SyscallFailure) -> Void
    ) throws(SyscallFailure) {
        do {
            try make()
        } catch {
            guard error.isExistingFile else { throw error }
            try delete(number)
            try make()
        }
    }

    /// Deletes a thin device, and its block device.
    ///
    /// - Throws: EBUSY if it is used.
    func delete(_ number: Number) throws(SyscallFailure) {
        try deactivate(number)
        do {
            try mapper.send("delete \(number)", to: name)
        } catch {
            // The pool does not have it.
            if error.errno != .noData { throw error }
        }
    }

    // MARK: Block devices

    /// E.g. `pool-unpack-12`.
    func deviceName(_ number: Number) -> String { "\(name)-unpack-\(number)" }

    func path(_ number: Number) -> FilePath { Self.folder.appending(deviceName(number)) }

    private static let folder: FilePath = "/dev/mapper"

    private func uuid(_ number: Number) -> String { "unpack-\(String(owner, radix: 16))-\(number)" }

    /// Activates a thin device, unless it is active, and calls `body` with its block device, which lasts until the end
    /// of its use: of a mount that `body` makes, for example.
    func withDevice<Value>(
        _ number: Number, size: Int64, readOnly: Bool, _ body: (FilePath) throws(SyscallFailure) -> Value
    ) throws(SyscallFailure) -> Value {
        try locked { () throws(SyscallFailure) in
            let wasActive = try isActive(number)
            let path = try activating(number, size: size, readOnly: readOnly)
            let result = Result { () throws(SyscallFailure) in try body(path) }
            if !wasActive { try remove(number, afterUse: true) }
            return try result.get()
        }
    }

    /// Activates a thin device until it is deactivated or the machine is restarted.
    ///
    /// - Throws: EBUSY for a device that is in use read-only, and wanted writable.
    func activate(_ number: Number, size: Int64, readOnly: Bool) throws(SyscallFailure) {
        try locked { () throws(SyscallFailure) in
            _ = try activating(number, size: size, readOnly: readOnly)
        }
    }

    /// Removes the block device of a thin device at once.
    ///
    /// - Throws: EBUSY if it is used.
    func deactivate(_ number: Number) throws(SyscallFailure) {
        try locked { () throws(SyscallFailure) in try remove(number, afterUse: false) }
    }

    /// Removes the block device when it is no longer used.
    func deactivateAfterUse(_ number: Number) throws(SyscallFailure) {
        try locked { () throws(SyscallFailure) in try remove(number, afterUse: true) }
    }

    /// Whether it is mounted, or opened by another program.
    func isUsed(_ number: Number) throws(SyscallFailure) -> Bool {
        try mapper.device(deviceName(number)).map { $0.openCount > 0 } ?? false
    }

    /// Bytes of the pool's blocks that a thin device has, shared ones included.
    func mappedBytes(_ number: Number, size: Int64) throws(SyscallFailure) -> Int64 {
        try withDevice(number, size: size, readOnly: true) { _ throws(SyscallFailure) in
            // `<mapped sectors> <highest mapped sector>`
            let status = try mapper.target(of: deviceName(number)).status
            return (status.split(separator: " ").first.flatMap { Int64($0) } ?? 0) * FileStatus.blockSize
        }
    }

    private func isActive(_ number: Number) throws(SyscallFailure) -> Bool {
        try mapper.device(deviceName(number)).map { $0.hasTable && !$0.isRemovedAfterUse } ?? false
    }

    private func activating(
        _ number: Number, size: Int64, readOnly: Bool
    ) throws(SyscallFailure) -> FilePath {
        var attempt = 0
        while true {
            do throws(SyscallFailure) {
                return try activatingOnce(number, size: size, readOnly: readOnly)
            } catch {
                // The end of a use, and a removal after it, take a moment.
                let isMomentary = error.errno == .resourceBusy || error.errno == .noSuchAddressOrDevice
                guard isMomentary, attempt < Self.attempts else { throw error }
                attempt += 1
                Process.sleep(milliseconds: 10)
            }
        }
    }

    /// Attempts, 10 ms apart.
    private static let attempts = 200

    private func activatingOnce(
        _ number: Number, size: Int64, readOnly: Bool
    ) throws(SyscallFailure) -> FilePath {
        let name = deviceName(number)
        if let device = try mapper.device(name) {
            guard device.uuid == uuid(number) else {
                throw SyscallFailure("ioctl", path: "\(name): DM_DEV_CREATE", errno: .fileExists)
            }
            if device.hasTable, readOnly || !device.isReadOnly {
                // By a process that was killed while it made a snapshot of the device.
                if device.isSuspended { try mapper.resume(name) }
                if device.isRemovedAfterUse { try mapper.keep(name) }
                try link(number, to: device.number)
                return path(number)
            }
            // Half made, or read-only.
            try mapper.remove(name)
        }
        guard let pool = try mapper.device(self.name) else {
            throw SyscallFailure("ioctl", path: "\(self.name): DM_DEV_STATUS", errno: .noSuchFileOrDirectory)
        }
        try mapper.create(name, uuid: uuid(number))
        do {
            try mapper.load(
                name, "thin", length: UInt64(size / FileStatus.blockSize),
                "\(pool.number.major):\(pool.number.minor) \(number)", readOnly: readOnly)
            try mapper.resume(name)
            if let device = try mapper.device(name) { try link(number, to: device.number) }
        } catch {
            try? mapper.remove(name)
            throw error
        }
        return path(number)
    }

    private func remove(_ number: Number, afterUse: Bool) throws(SyscallFailure) {
        do {
            try mapper.remove(deviceName(number), afterUse: afterUse)
        } catch {
            if error.errno != .noSuchAddressOrDevice { throw error }
        }
        try unlinkIfDangling(number)
    }

    // MARK: Names in /dev

    /// Makes the link to a device that udev makes where it runs, which may be later.
    private func link(_ number: Number, to device: DeviceNumber) throws(SyscallFailure) {
        if let status = try? File.status(of: path(number)), status.kind == .block(device) { return }
        let links = try Directory(opening: Self.folder)
        let name = FileName(literal: deviceName(number))
        do {
            try links.removeFile(name)
        } catch {
            if !error.isMissing { throw error }
        }
        do {
            try links.makeSymlink(name, target: Array("../dm-\(device.minor)".utf8))
        } catch {
            // Made by udev meanwhile.
            if !error.isExistingFile { throw error }
        }
    }

    private func unlinkIfDangling(_ number: Number) throws(SyscallFailure) {
        guard try mapper.device(deviceName(number)) == nil else { return }
        do {
            try Directory(opening: Self.folder).removeFile(FileName(literal: deviceName(number)))
        } catch {
            if !error.isMissing { throw error }
        }
    }

    // MARK: Lock

    /// Lets one process at a time change which devices are active. The lock ends with the process.
    private func locked<Value>(_ body: () throws(SyscallFailure) -> Value) throws(SyscallFailure) -> Value {
        let file = try folder.openOrCreateFile(FileName(literal: "lock"), mode: 0o600)
        while try !file.tryLock() { Process.sleep(milliseconds: 1) }
        let result = Result { () throws(SyscallFailure) in try body() }
        try file.close()
        return try result.get()
    }
}
