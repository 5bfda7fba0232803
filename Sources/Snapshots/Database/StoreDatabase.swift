internal import GRDB
internal import Kernel
internal import Streams
internal import Synchronization
internal import SystemPackage

/// The metadata database of a store, `metadata.db`: opens it, runs transactions, and turns SQLite's errors into those of the
/// store. Statements are in `StoreTransaction`, the tables in `Schema`.
final class StoreDatabase: Sendable {
    private let queue: DatabaseQueue
    private let scope: StoreScope
    private let transactions = Atomic<Int>(0)

    /// Queues that this process has opened, never destroyed: libdispatch destroys the values of a queue on another thread, and
    /// waits without end if the system refuses one. A closed queue is small.
    private static let opened = Guarded([DatabaseQueue]())

    /// The version of SQLite, e.g. `3.40.1`.
    static var version: String {
        let number = GRDB.Database.sqliteLibVersionNumber
        return "\(number / 1_000_000).\(number / 1000 % 1000).\(number % 1000)"
    }

    /// The database file, and the files that SQLite keeps beside it (sqlite.org/tempfiles.html).
    static let files = ["metadata.db", "metadata.db-wal", "metadata.db-shm", "metadata.db-journal"]

    /// Opens the database of a store and upgrades its schema.
    ///
    /// - Throws: `.failedPrecondition` for a database of a later schema, `.busy`, `.outOfSpace`, `.database`.
    init(
        in root: FilePath, scope: StoreScope, inheritance: @escaping Schema.Inheritance
    ) throws(StoreFailure) {
        self.scope = scope
        var configuration = Configuration()
        // Longer than any transaction of this program: a longer wait is for a process that hangs.
        configuration.busyMode = .timeout(10)
        configuration.foreignKeysEnabled = true
        configuration.prepareDatabase { database in
            // Writes nothing if the mode is WAL already; GRDB's own setting writes each time, also for a reader.
            try database.execute(sql: "PRAGMA journal_mode = WAL")
            // Transactions that must survive a power cut use FULL (`Promise.durable`).
            try database.execute(sql: "PRAGMA synchronous = NORMAL")
        }
        let path = root.appending(Self.files[0]).string
        queue = try Self.translating {
            try Self.passFaultPoint("BEGIN", "openDatabase")
            let queue = try DatabaseQueue(path: path, configuration: configuration)
            Self.opened.withLock { $0.append(queue) }
            var migrator = DatabaseMigrator()
            for migration in Schema.migrations {
                migrator.registerMigration(migration.name) {
                    try migration.apply(SQLConnection($0), inheritance)
                }
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

    deinit { try? queue.close() }

    /// Ends all work with the database; idempotent. Later transactions fail.
    func close() throws(StoreFailure) { try Self.translating { try queue.close() } }

    // MARK: Transactions

    /// Transactions begun since the database was opened, reading ones included.
    var transactionCount: Int { transactions.load(ordering: .relaxed) }

    func read<Value>(_ body: (StoreTransaction) throws -> Value) throws(StoreFailure) -> Value {
        transactions.add(1, ordering: .relaxed)
        return try Self.translating {
            try queue.read { try body(StoreTransaction(connection: SQLConnection($0), scope: scope)) }
        }
    }

    /// What holds when a transaction has returned.
    enum Promise {
        /// Every process sees its changes.
        case ordinary
        /// Its changes are on the disk, too.
        case durable
    }

    /// Runs one immediate transaction: no other process writes meanwhile, and nothing of it remains if it throws.
    ///
    /// - Parameter caller: the name of the transaction at fault points.
    func write<Value>(
        _ promise: Promise = .ordinary, caller: String = #function,
        _ body: (StoreTransaction) throws -> Value
    ) throws(StoreFailure) -> Value {
        transactions.add(1, ordering: .relaxed)
        return try Self.translating {
            try Self.passFaultPoint("BEGIN", caller)
            return try queue.writeWithoutTransaction { database in
                if promise == .durable { try database.execute(sql: "PRAGMA synchronous = FULL") }
                defer { if promise == .durable { try? database.execute(sql: "PRAGMA synchronous = NORMAL") } }
                var result: Value?
                try database.inTransaction(.immediate) {
                    result = try body(StoreTransaction(connection: SQLConnection(database), scope: scope))
                    try Self.passFaultPoint("COMMIT", caller)
                    return .commit
                }
                try FaultPoint.pass("committed", caller, canFail: false)
                guard let result else { throw StoreFailure(.internalError, "a transaction without a result") }
                return result
            }
        }
    }

    // MARK: Errors

    /// Passes a fault point of a transaction, and fails as SQLite does when one of its own calls fails.
    private static func passFaultPoint(_ step: String, _ caller: String) throws {
        do throws(SyscallFailure) {
            try FaultPoint.pass(step, caller)
        } catch {
            throw DatabaseError(
                resultCode: error.isOutOfSpace ? .SQLITE_FULL : .SQLITE_IOERR, message: "\(error)")
        }
    }

    private static func translating<Value>(_ body: () throws -> Value) throws(StoreFailure) -> Value {
        do {
            return try body()
        } catch let failure as StoreFailure {
            throw failure
        } catch let failure as SyscallFailure {
            throw StoreFailure(failure, "cannot change the store")
        } catch let failure as DatabaseError {
            throw StoreFailure(failure)
        } catch {
            throw StoreFailure(.database, "the store's database: \(error)")
        }
    }
}

extension StoreFailure {
    fileprivate init(_ failure: DatabaseError) {
        // SQLite cannot create the index of its log: on a full disk (sqlite.org/rescode.html).
        let isOutOfSpace = failure.extendedResultCode == .SQLITE_IOERR_SHMSIZE
        switch isOutOfSpace ? .SQLITE_FULL : failure.resultCode.primaryResultCode {
        case .SQLITE_BUSY, .SQLITE_LOCKED:
            self.init(
                .busy, "the store's database stayed locked for 10 s",
                hint: "another process holds it; try again, or look for one that hangs")
        case .SQLITE_FULL:
            self.init(
                .outOfSpace, "cannot write the store's database: metadata.db: no space left on device",
                hint: "free some space, or put the store elsewhere with --root DIR")
        default:
            self.init(
                .database, "the store's database: \(failure.message ?? "\(failure)")", hint: failure.hint)
        }
    }
}

extension DatabaseError {
    /// What helps (sqlite.org/rescode.html).
    fileprivate var hint: String? {
        switch resultCode.primaryResultCode {
        case .SQLITE_CORRUPT, .SQLITE_NOTADB:
            "metadata.db is damaged: restore it, or use another store with --root DIR"
        case .SQLITE_CANTOPEN, .SQLITE_READONLY, .SQLITE_PERM:
            "check that metadata.db and its directory can be written to, and that inodes are left (df -i)"
        case .SQLITE_IOERR:
            "the device or its connection failed: see the kernel's log, and check the file system"
        case .SQLITE_NOMEM: "free some memory, or raise the limit of the container or service"
        default: nil
        }
    }
}
