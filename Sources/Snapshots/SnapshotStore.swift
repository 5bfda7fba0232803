package import Kernel
internal import SQLite
package import SystemPackage

/// The snapshots of one snapshotter in a ROOT: containerd's contract over a directory and a database.
///
/// The parts, by folder: `Database` has all SQL, `Contract` the state machine of snapshots, `Removal` all that deletes
/// directories (`Trash`), `Images` the records of images, `Services` what containerd's clients see and what may be
/// shared between processes, `Backends` what differs between kinds of file
/// system. `docs/on-disk.md` describes what is durable when.
///
/// Any number of processes share a ROOT. IDs are assigned and directories are made inside write transactions, so a
/// directory without a row is garbage for the process that holds the write lock.
package final class SnapshotStore: Sendable {
    package let root: FilePath
    package let snapshotter: String

    let database: StoreDatabase
    let backend: any SnapshotBackend
    let clock: @Sendable () -> SnapshotInfo.Date
    let rootDirectory: Directory
    let locks: Directory
    let runs: Directory
    /// The result of the backend's probe; nil before the first one.
    private let probed = Locked<WhiteoutForm?>(nil)

    var trash: Trash { Trash(backend: backend, locks: locks, snapshotter: snapshotter) }

    /// Opens a store, and makes it if it is missing.
    ///
    /// - Parameters:
    ///   - boot: names the time since the kernel started. The store does not trust what another boot has not synced.
    ///   - settings: those of the snapshotter.
    ///   - clock: nanoseconds since 1970-01-01 UTC.
    /// - Throws: `.failedPrecondition` for a store of another kind, `.invalidArgument` for an unknown snapshotter,
    ///   `.busy`, `.system`.
    package init(
        opening root: FilePath, snapshotter: String, boot: String,
        settings: BackendSettings = BackendSettings(), clock: @escaping @Sendable () -> SnapshotInfo.Date
    ) throws(StoreFailure) {
        guard let type = Self.backends.first(where: { $0.name == snapshotter }) else {
            throw StoreFailure(
                .invalidArgument, "there is no snapshotter '\(escaped(snapshotter.utf8))'",
                hint: "there is: " + Self.supported.joined(separator: ", "))
        }
        self.root = root
        self.snapshotter = snapshotter
        self.clock = clock
        do throws(OwnershipFailure) {
            rootDirectory = try Directory.openingOwn(root)
            runs = try rootDirectory.ensureOwnDirectory("runs", in: root)
            locks = try rootDirectory.ensureOwnDirectory("locks", in: root)
            for name in [SchemaLock.file, ChainLock.file] {
                try locks.checkOwnFile(name, in: root.appending("locks"))
            }
            backend = type.init(
                folder: try BackendFolder(opening: snapshotter, in: rootDirectory, at: root, settings))
        } catch {
            throw StoreFailure(error, "cannot open the store \(escaped(root))")
        }
        // One process at a time makes or upgrades the database, until the lock is closed.
        let schema = try Self.lockSchema(locks)
        try Self.refuseForeign(root, snapshotter, folder: backend.folder.directory)
        try Self.prepareDatabaseFiles(in: rootDirectory, at: root)
        database = try StoreDatabase(
            in: root, scope: StoreScope(snapshotter: snapshotter, boot: boot),
            inheritance: Self.inheritance(in: rootDirectory))
        try checkKind()
        try backend.checkSettings()
        withExtendedLifetime(schema) {}
    }

    private static let backends: [any SnapshotBackend.Type] = [
        OverlayBackend.self, NativeBackend.self, BtrfsBackend.self, LoopBackend.self, ErofsBackend.self,
        DevmapperBackend.self, ZfsBackend.self,
    ]

    /// The version of SQLite, e.g. `3.40.1`.
    package static var databaseVersion: String { SQLConnection.version }

    /// The names of all snapshotters.
    package static let supported = backends.map { $0.name }

    /// The name of the snapshotter that has `BackendSettings`.
    package static let thinDevices = DevmapperBackend.name

    /// The thin pool of an existing store; nil if it has none, or cannot be read.
    package static func thinPool(ofStore root: FilePath) -> String? {
        let folder = try? Directory(opening: root.appending(thinDevices))
        return folder.flatMap { try? PoolRecord(in: $0) }?.pool
    }

    /// Why a thin pool cannot take snapshots, and what helps; nil if it can.
    package static func fault(ofThinPool name: String) -> (reason: String, remedy: String)? {
        ThinPool.fault(of: name).map { ($0.reason, $0.remedy) }
    }

    /// The name of the snapshotter that needs a dataset of ZFS on the store's root.
    package static let datasets = ZfsBackend.name

    /// Why datasets cannot be made in the one that is mounted on a directory, and what helps; nil if they can.
    package static func fault(ofDatasetOn root: FilePath) -> (reason: String, remedy: String)? {
        ZfsBackend.fault(on: root)
    }

    /// The name of a snapshot's tree in its directory; nil for an unknown snapshotter.
    static func tree(of snapshotter: String) -> String? {
        backends.first { $0.name == snapshotter }?.tree.description
    }

    package var content: SnapshotContent { type(of: backend).content }

    /// Ends all work with the database; idempotent. Later calls fail.
    package func close() throws(StoreFailure) { try database.close() }

    /// Transactions of this store since it was opened, for tests that limit the number of a call's transactions.
    package var transactionCount: Int { database.transactionCount }

    // MARK: Opening

    private static func lockSchema(_ locks: Directory) throws(StoreFailure) -> SchemaLock {
        try attempting("cannot lock the store") { () throws(SyscallFailure) in try SchemaLock(in: locks) }
    }

    /// Refuses a store whose database is gone: all its directories would be garbage.
    private static func refuseForeign(
        _ root: FilePath, _ snapshotter: String, folder: Directory
    ) throws(StoreFailure) {
        let isOwn = try attempting("cannot open the store \(escaped(root))") { () throws(SyscallFailure) in
            if try root.appending("metadata.db").exists() { return true }
            return try folder.names().isEmpty
        }
        if !isOwn {
            throw StoreFailure(
                .failedPrecondition,
                "\(escaped(root.appending(snapshotter))) is not empty, and the store's database is not there",
                hint: "restore metadata.db, or use another store with --root DIR")
        }
    }

    /// Makes an empty database file if it is missing, so that SQLite makes its log and shared memory with the same
    /// mode, and checks that no other user can open them: a reader of the shared memory could lock all writers out.
    private static func prepareDatabaseFiles(
        in directory: Directory, at root: FilePath
    ) throws(StoreFailure) {
        do throws(OwnershipFailure) {
            for name in StoreDatabase.files {
                // Earlier versions made them readable by all.
                try directory.checkOwnFile(FileName(literal: name), in: root, mode: 0o600)
            }
            try Ownership.attempting { () throws(SyscallFailure) in
                _ = try directory.createFile(FileName(literal: StoreDatabase.files[0]), mode: 0o600)
            }
        } catch {
            throw StoreFailure(error, "cannot open the store \(escaped(root))")
        }
    }

    private static func inheritance(in root: Directory) -> Schema.Inheritance {
        { snapshotter, id in
            // The tree in an image file or volume inherits nothing.
            guard ![LoopBackend.name, DevmapperBackend.name, ZfsBackend.name].contains(snapshotter),
                let folder = try? root.open(FileName(literal: snapshotter)),
                let snapshot = try? folder.open(FileName(id: id))
            else { return false }
            return (try? snapshot.hasInheritedSettings()) ?? false
        }
    }

    /// Checks the store's mode and class of extended attributes, which never change after the store was made.
    private func checkKind() throws(StoreFailure) {
        let own = [
            ("mode", Privileges.current.mode),
            ("attributes", Privileges.current.isInitialNamespace ? "trusted" : "user"),
        ]
        let found = try database.read { try $0.storeProperties() }
        for (name, value) in own {
            if let other = found[name], other != value {
                throw StoreFailure(
                    .failedPrecondition,
                    "the store \(escaped(root)) was made with \(name) '\(other)', and this is '\(value)'",
                    hint: "use another store with --root DIR")
            }
        }
        guard found.isEmpty else { return }
        try database.write { transaction in
            for (name, value) in own { try transaction.insertStoreProperty(name, value) }
        }
    }

    // MARK: The file system

    /// The form of whiteouts that this file system can hold, probed once.
    ///
    /// - Throws: `.notPermitted` if this process cannot mount, `.unavailable` with the reason if the file system can
    ///   hold none, `.system`, `.busy`.
    package func whiteoutForm() throws(StoreFailure) -> WhiteoutForm {
        if let form = probed.withLock({ $0 }) { return form }
        guard Privileges.current.canMount else {
            throw StoreFailure(
                .notPermitted,
                "this root has no CAP_SYS_ADMIN: it can mount nothing, and not write layers for others to mount",
                hint:
                    "start the container with --privileged or --cap-add SYS_ADMIN, or unpack with --output DIR"
            )
        }
        // Inside a transaction, so that no other process takes the probe's directory for an orphan.
        let form = try database.write { _ in try self.backend.probe() }
        probed.withLock { $0 = form }
        return form
    }

    /// Bytes that are free for one image.
    ///
    /// - Throws: as `whiteoutForm`: without the backend's own files there is no answer.
    package func freeBytes() throws(StoreFailure) -> Int64 {
        _ = try whiteoutForm()
        return try attempting("cannot ask for the free space of \(escaped(root))") {
            () throws(SyscallFailure) in
            try backend.freeBytes()
        }
    }

    /// Writes the whole file system of the store to the disk (syncfs(2)).
    package func syncFileSystem() throws(StoreFailure) {
        try attempting("cannot write the store to disk") { () throws(SyscallFailure) in
            try rootDirectory.file.syncFileSystem()
        }
    }
}

extension Privileges {
    /// What the owners in a store mean.
    fileprivate var mode: String {
        if isInitialNamespace { return "root" }
        return idCount > 1 ? "user namespace" : "user namespace of one id"
    }
}
