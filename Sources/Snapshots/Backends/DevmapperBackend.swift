internal import Kernel
internal import Mounts
internal import SystemPackage

/// Snapshots as thin devices of a pool of the device mapper, each with a whole file system and a fixed size: for virtual
/// machines, which need a block device, and for containers with a limit on their disk.
///
/// `<id>/device` is a link to the block device, whose name ends in the thin device's number. `pool` describes the pool.
/// Number 0 is the empty file system that every snapshot without a parent is a snapshot of; `scratch` says that it is
/// complete.
struct DevmapperBackend: VolumeBackend {
    static let name = "devmapper"
    static let content = SnapshotContent.mergedTree
    static let tree = FileName(literal: "device")

    let folder: BackendFolder

    func make(_ id: Int64, for purpose: SnapshotPurpose, on parent: Int64?, check: () throws -> Void) throws {
        if purpose == .view, parent != nil { return }
        let (record, pool) = try open()
        try refuseFault(of: pool)
        guard id <= ThinPool.maximumNumber else {
            throw StoreFailure(
                .resourceExhausted, "the thin pool '\(record.pool)' has no number for another device",
                hint: "unpack into a store on another pool")
        }
        try link(id, to: pool.path(id).string)
        try pool.makeSnapshot(id, of: try parent.map(number) ?? Self.scratch)
    }

    func open(_ id: Int64, isWritable: Bool) throws(SyscallFailure) -> SnapshotTree {
        let (record, pool) = try open()
        return SnapshotTree(
            try mount(try number(of: id), of: pool, record, readOnly: !isWritable))
    }

    private func mount(
        _ number: ThinPool.Number, of pool: ThinPool, _ record: PoolRecord, readOnly: Bool
    ) throws(SyscallFailure) -> DetachedMount {
        try pool.withDevice(number, size: record.size, readOnly: readOnly) { path throws(SyscallFailure) in
            let options = record.type.mountOptions(readOnly: readOnly).map { ($0, String?.none) }
            return try DetachedMount(
                type: record.type.rawValue, source: path, readOnly: readOnly, options: options)
        }
    }

    /// Refuses a snapshot that is mounted, and completes the journal of one that a crash has left.
    func finish(_ id: Int64, for purpose: SnapshotPurpose, check: () throws -> Void) throws {
        guard purpose == .changes else { return }
        let isUsed = try attempting("cannot look at a snapshot's device") { () throws(SyscallFailure) in
            let (record, pool) = try open()
            let number = try number(of: id)
            let clock = ContinuousClock()
            let end = clock.now + Self.patience
            while try pool.isUsed(number) {
                if clock.now > end { return true }
                Process.sleep(milliseconds: 10)
            }
            try mount(number, of: pool, record, readOnly: false).sync()
            return false
        }
        if isUsed {
            throw StoreFailure(
                .failedPrecondition, "the snapshot is mounted, or its device is open",
                hint: "unmount it first")
        }
    }

    func seal(_ id: Int64) throws(SyscallFailure) {
        try open().pool.deactivateAfterUse(try number(of: id))
    }

    /// The pool has written its own part before the message that made the device has returned.
    func persist(_ id: Int64) throws(SyscallFailure) { try folder.directory.file.syncFileSystem() }

    /// The blocks of the device without its parent's, and one inode.
    func usage(
        of id: Int64, isCommitted: Bool, on parent: Int64?, tree: SnapshotUsage?
    ) throws(SyscallFailure) -> SnapshotUsage {
        let (record, pool) = try open()
        func bytes(_ id: Int64) throws(SyscallFailure) -> Int64 {
            try pool.mappedBytes(try number(of: id), size: record.size)
        }
        let below = try parent.map(bytes) ?? 0
        return SnapshotUsage(size: max(0, try bytes(id) - below), inodes: 1)
    }

    /// Activates the device: after a restart of the machine none is active.
    func mounts(_ stack: SnapshotStack) throws(StoreFailure) -> [Mount] {
        guard let id = stack.top else { return [] }
        return try attempting("cannot activate the device of the snapshot \(id)") {
            () throws(SyscallFailure) in
            let (record, pool) = try open()
            let number = try number(of: id)
            try pool.activate(number, size: record.size, readOnly: stack.isReadOnly)
            return [
                .device(
                    pool.path(number), type: record.type.rawValue, readOnly: stack.isReadOnly,
                    options: record.type.mountOptions(readOnly: stack.isReadOnly))
            ]
        }
    }

    func freeBytes() throws(SyscallFailure) -> Int64 {
        let (record, pool) = try open()
        return min(try pool.freeBytes(), record.size)
    }

    func deleteVolume(_ number: Int64) throws(SyscallFailure) { try open().pool.delete(number) }

    private static let scratch: ThinPool.Number = 0

    // MARK: The pool

    private func open() throws(SyscallFailure) -> (record: PoolRecord, pool: ThinPool) {
        guard let record = try PoolRecord(in: folder.directory) else {
            throw SyscallFailure(
                "openat", path: escaped(folder.path.appending("pool")), errno: .noSuchFileOrDirectory)
        }
        return (record, try ThinPool(record.pool, owner: record.owner, in: folder.directory))
    }

    private func refuseFault(of pool: ThinPool) throws(StoreFailure) {
        guard let fault = ThinPool.fault(of: pool.name) else { return }
        throw StoreFailure(.unavailable, fault.reason, hint: fault.remedy)
    }

    func probe() throws(StoreFailure) -> WhiteoutForm {
        let record = try ensureRecord()
        let pool: ThinPool
        do {
            pool = try ThinPool(record.pool, owner: record.owner, in: folder.directory)
        } catch {
            throw StoreFailure(
                unable: error, Self.self, at: folder.path,
                hint: "the device mapper needs root and /dev/mapper/control, as in a privileged container")
        }
        try refuseFault(of: pool)
        let isComplete = try attempting("cannot look at the store") { () throws(SyscallFailure) in
            try folder.directory.status(of: PoolRecord.scratch) != nil
        }
        try claim(pool, isComplete: isComplete)
        if !isComplete { try makeScratch(in: pool, record) }
        // All file systems that this makes have devices and trusted attributes.
        return .device
    }

    /// Refuses a pool that another store has used: their numbers would collide.
    private func claim(_ pool: ThinPool, isComplete: Bool) throws(StoreFailure) {
        let transaction = try attempting("cannot look at the thin pool") { () throws(SyscallFailure) in
            ThinPool.Status(try pool.target().status)?.transaction
        }
        if transaction == pool.owner { return }
        guard transaction == 0, !isComplete else {
            throw StoreFailure(
                .failedPrecondition,
                isComplete
                    ? "the thin pool '\(escaped(pool.name.utf8))' is not the one that this store was made on"
                    : "the thin pool '\(escaped(pool.name.utf8))' has devices of another program or another store",
                hint: "each store needs a pool of its own")
        }
        try attempting("cannot claim the thin pool") { () throws(SyscallFailure) in try pool.claim() }
    }

    private func makeScratch(in pool: ThinPool, _ record: PoolRecord) throws(StoreFailure) {
        let doing = "cannot make an empty file system"
        try attempting(doing) { () throws(SyscallFailure) in
            try pool.make(Self.scratch)
            try pool.activate(Self.scratch, size: record.size, readOnly: false)
        }
        try record.type.format(pool.path(Self.scratch), for: Self.name)
        do {
            do {
                let mount = try mount(Self.scratch, of: pool, record, readOnly: false)
                // xfs has none.
                try? mount.root.removeTree(FileName(literal: "lost+found"))
                try mount.sync()
            }
            try pool.deactivateAfterUse(Self.scratch)
            try folder.directory.writeAtomically(PoolRecord.scratch, mode: 0o600, sync: true) { _ in }
            try folder.directory.file.sync()
        } catch {
            throw StoreFailure(error, doing)
        }
    }

    // MARK: The description of the pool

    private func record() throws(StoreFailure) -> PoolRecord? {
        try attempting("cannot read the description of the pool") { () throws(SyscallFailure) in
            try PoolRecord(in: folder.directory)
        }
    }

    func checkSettings() throws(StoreFailure) {
        let settings = folder.settings
        guard let found = try record() else { return }
        if let pool = settings.pool, pool != found.pool {
            throw refusal("on the thin pool '\(escaped(found.pool.utf8))', not '\(escaped(pool.utf8))'")
        }
        if let size = settings.size, size != found.size {
            throw refusal("with devices of \(found.size) bytes, not \(size)")
        }
        if let type = settings.fileSystem, type != found.type {
            throw refusal("with \(found.type.rawValue), not \(type.rawValue)")
        }
    }

    /// Reads the description, or writes that of a new store, which the settings give.
    private func ensureRecord() throws(StoreFailure) -> PoolRecord {
        if let found = try record() { return found }
        let settings = folder.settings
        guard let pool = settings.pool else {
            throw StoreFailure(
                .unavailable, "devmapper needs a thin pool for this store",
                hint:
                    "name one with --pool NAME; 'unpack doctor --snapshotter devmapper' says how to make one")
        }
        let record = PoolRecord(
            pool: pool, owner: UInt64.random(in: 1 ... .max), size: settings.size ?? PoolRecord.defaultSize,
            type: settings.fileSystem ?? .ext4)
        guard let line = record.line else {
            throw StoreFailure(
                .invalidArgument, "a thin pool cannot be called '\(escaped(pool.utf8))'",
                hint: "'dmsetup status' lists the pools")
        }
        do {
            try folder.directory.writeAtomically(PoolRecord.file, mode: 0o600, sync: true) { file in
                try Array(line.utf8).withRawSpan { try file.write($0) }
            }
            try folder.directory.file.sync()
        } catch {
            throw StoreFailure(error, "cannot write the description of the pool")
        }
        return record
    }

    private func refusal(_ difference: String) -> StoreFailure {
        StoreFailure(
            .failedPrecondition, "the store was made \(difference)",
            hint: "use another store with --root DIR, or leave out the option")
    }
}

/// What a store keeps of its pool: the file `pool`, one line `<pool> <owner> <size> <file system>`.
struct PoolRecord: Equatable {
    static let file = FileName(literal: "pool")
    /// An empty file: the empty file system is complete.
    static let scratch = FileName(literal: "scratch")
    static let defaultSize: Int64 = 10 << 30

    let pool: String
    let owner: UInt64
    /// Bytes of each device.
    let size: Int64
    let type: BlockFileSystem

    init(pool: String, owner: UInt64, size: Int64, type: BlockFileSystem) {
        self.pool = pool
        self.owner = owner
        self.size = size
        self.type = type
    }

    /// Nil if there is none.
    init?(in folder: Directory) throws(SyscallFailure) {
        guard let file = try folder.openExistingFile(Self.file) else { return nil }
        var bytes = [UInt8]()
        try file.read(into: &bytes, limit: 4096)
        let words = String(decoding: bytes, as: UTF8.self).split(separator: " ").map(String.init)
        guard words.count == 4, let owner = UInt64(words[1]), let size = Int64(words[2]),
            let type = BlockFileSystem(rawValue: words[3])
        else { throw SyscallFailure("read", path: "pool", errno: .ioError) }
        self.init(pool: words[0], owner: owner, size: size, type: type)
    }

    /// Nil if the name of the pool cannot be part of the name of a device.
    var line: String? {
        let isPlain = pool.utf8.allSatisfy {
            (0x21...0x7E).contains($0) && $0 != UInt8(ascii: "/")
        }
        guard !pool.isEmpty, pool.utf8.count <= 100, isPlain else { return nil }
        return "\(pool) \(owner) \(size) \(type.rawValue)"
    }
}
