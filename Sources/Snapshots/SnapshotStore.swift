internal import GRDB
package import Kernel
internal import OCI
internal import Streams
package import SystemPackage

/// The snapshots of one ROOT: containerd's contract over a directory and a database. `docs/on-disk.md` tells
/// what is durable when.
///
/// Any number of processes share a ROOT. Ids are handed out, and directories made, inside a write
/// transaction: so a directory that no row names is garbage to whoever holds the write lock.
package final class SnapshotStore: Sendable {
    package let root: FilePath
    package let snapshotter: String

    let database: DatabaseQueue
    let backend: any SnapshotBackend
    let boot: String
    /// What the probe has found, once it was made.
    private let probed = Guarded<WhiteoutForm?>(nil)
    let clock: @Sendable () -> SnapshotInfo.Date
    let rootDirectory: Directory
    let locks: Directory
    let runs: Directory

    /// Opens a store, made if it is not there. Nothing that is there already is changed.
    ///
    /// - Parameters:
    ///   - boot: names the time since the kernel started; what another boot did not sync is not trusted.
    /// - Throws: `.failedPrecondition` for a store of another kind, `.busy`, `.system`.
    package init(
        opening root: FilePath, snapshotter: String, boot: String,
        clock: @escaping @Sendable () -> SnapshotInfo.Date
    ) throws(StoreFailure) {
        guard let type = Self.backends.first(where: { $0.name == snapshotter }) else {
            throw StoreFailure(
                .invalidArgument, "there is no snapshotter '\(escaped(snapshotter.utf8))'",
                hint: "there is: " + Self.supported.joined(separator: ", "))
        }
        self.root = root
        self.snapshotter = snapshotter
        self.boot = boot
        self.clock = clock
        do throws(OwnershipFailure) {
            rootDirectory = try Directory.openingOwn(root)
            runs = try rootDirectory.ensureOwnDirectory("runs", in: root)
            locks = try rootDirectory.ensureOwnDirectory("locks", in: root)
            for name in [SchemaLock.file, ChainLock.file] {
                try locks.checkOwnFile(name, in: root.appending("locks"))
            }
            backend = type.init(
                folder: try BackendFolder(opening: snapshotter, in: rootDirectory, at: root))
        } catch {
            throw StoreFailure(error, "cannot open the store \(escaped(root))")
        }
        // One process at a time makes or upgrades the database; the lock goes with the file.
        let schema = try Self.lockSchema(locks)
        try Self.refuseForeign(root, snapshotter, folder: backend.folder.directory)
        try Self.prepareDatabaseFiles(in: rootDirectory, at: root)
        database = try Self.openDatabase(root, rootDirectory)
        try checkKind()
        withExtendedLifetime(schema) {}
    }

    deinit { try? database.close() }

    /// Every queue that was opened: none is ever destroyed. libdispatch destroys a queue's values on another thread, and waits
    /// without end where the system refuses one. What is left of a closed one is small.
    private static let opened = Guarded([DatabaseQueue]())

    private static let backends: [any SnapshotBackend.Type] = [
        OverlayBackend.self, NativeBackend.self, BtrfsBackend.self, LoopBackend.self,
    ]

    /// SQLite's, `3.40.1`.
    package static var databaseVersion: String {
        let number = GRDB.Database.sqliteLibVersionNumber
        return "\(number / 1_000_000).\(number / 1000 % 1000).\(number % 1000)"
    }

    package static let supported = backends.map { $0.name }

    /// What carries the tree of a snapshot in its directory, of a snapshotter.
    static func tree(of snapshotter: String) -> String? {
        backends.first { $0.name == snapshotter }?.tree.description
    }

    /// What a snapshot's tree holds here.
    package var content: SnapshotContent { type(of: backend).content }

    /// Ends all work with the database; again is nothing. Whatever is asked afterwards fails.
    package func close() throws(StoreFailure) {
        try translating { try database.close() }
    }

    private static func lockSchema(_ locks: Directory) throws(StoreFailure) -> SchemaLock {
        try attempting("cannot lock the store") { () throws(SyscallFailure) in try SchemaLock(in: locks) }
    }

    /// Without its database a store's directories would all be orphans.
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

    /// Makes an empty database file if there is none, so that SQLite makes its log and shared memory with the same mode, and
    /// makes sure that no other user can open them: a reader of the shared memory could lock all writers out.
    ///
    /// - Throws: `.system` with EPERM for a file that another user made or can write to.
    private static func prepareDatabaseFiles(
        in directory: Directory, at root: FilePath
    ) throws(StoreFailure) {
        do throws(OwnershipFailure) {
            for name in databaseFiles {
                // Earlier versions made them readable by all.
                try directory.checkOwnFile(FileName(literal: name), in: root, mode: 0o600)
            }
            try Ownership.attempting { () throws(SyscallFailure) in
                _ = try directory.createFile(FileName(literal: databaseFiles[0]), mode: 0o600)
            }
        } catch {
            throw StoreFailure(error, "cannot open the store \(escaped(root))")
        }
    }

    /// The database, and what SQLite keeps beside it (sqlite.org/tempfiles.html).
    private static let databaseFiles = [
        "metadata.db", "metadata.db-wal", "metadata.db-shm", "metadata.db-journal",
    ]

    private static func openDatabase(
        _ root: FilePath, _ directory: Directory
    ) throws(StoreFailure) -> DatabaseQueue {
        var configuration = Configuration()
        // Longer than any transaction of ours: whoever waits longer meets a hung process.
        configuration.busyMode = .timeout(10)
        configuration.foreignKeysEnabled = true
        configuration.prepareDatabase { database in
            // Nothing is written where it is so already; GRDB's own way writes every time, also by who only looks.
            try database.execute(sql: "PRAGMA journal_mode = WAL")
            // What must survive a power cut is written with FULL (`settle`).
            try database.execute(sql: "PRAGMA synchronous = NORMAL")
        }
        let path = root.appending("metadata.db").string
        return try translating {
            try passFaultPoint("BEGIN", "openDatabase")
            let queue = try DatabaseQueue(path: path, configuration: configuration)
            opened.withLock { $0.append(queue) }
            let migrator = Schema.migrator { snapshotter, id in
                // The tree of an image file inherits nothing.
                guard snapshotter != LoopBackend.name,
                    let folder = try? directory.open(FileName(literal: snapshotter)),
                    let snapshot = try? folder.open(FileName(id: id))
                else { return false }
                return (try? snapshot.showsInheritance()) ?? false
            }
            if try queue.read(migrator.hasBeenSuperseded) {
                throw StoreFailure(
                    .failedPrecondition,
                    "the store \(escaped(root)) was written by a newer version of this program",
                    hint: "use that version, or another store with --root DIR")
            }
            if try !queue.read(migrator.hasCompletedMigrations) { try migrator.migrate(queue) }
            try FaultPoint.pass("committed", "openDatabase", canFail: false)
            return queue
        }
    }

    /// One ROOT is one mode and one class of extended attributes: recorded when it is made, the same ever
    /// after.
    private func checkKind() throws(StoreFailure) {
        let own = [
            ("mode", Privileges.current.mode),
            ("attributes", Privileges.current.isInitialNamespace ? "trusted" : "user"),
        ]
        let found = try read { database in
            try Row.fetchAll(database, sql: "SELECT name, value FROM store").reduce(into: [String: String]())
            {
                $0[$1["name"]] = $1["value"]
            }
        }
        for (name, value) in own {
            if let other = found[name], other != value {
                throw StoreFailure(
                    .failedPrecondition,
                    "the store \(escaped(root)) was made with \(name) '\(other)', and this is '\(value)'",
                    hint: "use another store with --root DIR")
            }
        }
        guard found.isEmpty else { return }
        try write { database in
            for (name, value) in own {
                try database.execute(
                    sql: "INSERT OR IGNORE INTO store VALUES (?, ?)", arguments: [name, value])
            }
        }
    }

    /// How layers can say on this file system that they hide something: tried out, once.
    ///
    /// - Throws: `.unavailable` with the reason if they cannot, `.system`, `.busy`.
    package func whiteoutForm() throws(StoreFailure) -> WhiteoutForm {
        if let form = probed.withLock({ $0 }) { return form }
        guard Privileges.current.canMount else {
            throw StoreFailure(
                .system(SyscallFailure("mount", errno: .notPermitted)),
                "this root has no CAP_SYS_ADMIN: it can mount nothing, and not write layers for others to mount",
                hint:
                    "start the container with --privileged or --cap-add SYS_ADMIN, or unpack with --output DIR"
            )
        }
        // In a transaction nobody takes the probe's own directory for an orphan.
        let form = try write { _ in try self.backend.probe() }
        probed.withLock { $0 = form }
        return form
    }

    /// Bytes that the store's file system has free, for root.
    package func freeBytes() throws(StoreFailure) -> Int64 {
        try attempting("cannot ask for the free space of \(escaped(root))") { () throws(SyscallFailure) in
            try rootDirectory.file.freeBytes()
        }
    }

    /// Begins to make snapshots, and removes what ended runs have left.
    ///
    /// - Parameter deletion: how much of that is gone when this returns.
    /// - Throws: `.system`, `.busy`.
    package func startRun(_ deletion: Deletion = .whole) throws(StoreFailure) -> Run {
        let run = try attempting("cannot begin to write to the store \(escaped(root))") {
            () throws(SyscallFailure) in
            try Run(in: runs)
        }
        try reap(but: run, deletion)
        return run
    }
}

extension Privileges {
    /// What the owners in a store mean.
    fileprivate var mode: String {
        if isInitialNamespace { return "root" }
        return idCount > 1 ? "user namespace" : "user namespace of one id"
    }
}
