internal import Kernel
internal import SQLite
internal import Streams
internal import Synchronization
internal import SystemPackage

/// The metadata database of a store, `metadata.db`: opens it, runs transactions, and turns SQLite's errors into those
/// of the store. Statements are in `StoreTransaction`, the tables in `Schema`.
final class StoreDatabase: Sendable {
    private let connection: Locked<SQLConnection>
    private let scope: StoreScope
    private let transactions = Atomic<Int>(0)

    /// The database file, and the files that SQLite keeps beside it (sqlite.org/tempfiles.html).
    static let files = ["metadata.db", "metadata.db-wal", "metadata.db-shm", "metadata.db-journal"]

    /// Opens the database of a store and upgrades its schema.
    ///
    /// - Throws: `.failedPrecondition` for a database of a later schema, `.busy`, `.outOfSpace`, `.database`.
    init(
        in root: FilePath, scope: StoreScope, inheritance: @escaping Schema.Inheritance
    ) throws(StoreFailure) {
        self.scope = scope
        connection = try Self.translating {
            try Self.passFaultPoint("BEGIN", "openDatabase")
            // The timeout is longer than any transaction of this program: a longer wait is for a process that hangs.
            let connection = try SQLConnection(
                opening: root.appending(Self.files[0]), busyTimeout: 10_000)
            try connection.execute("PRAGMA foreign_keys = 1")
            try connection.execute("PRAGMA journal_mode = WAL")
            // Transactions that must survive a power cut use FULL (`Promise.durable`).
            try connection.execute("PRAGMA synchronous = NORMAL")
            let migrations = Schema.migrations(inheritance)
            switch try connection.readTransaction({ try migrations.state(of: connection) }) {
            case .newer:
                throw StoreFailure(
                    .failedPrecondition,
                    "the store \(escaped(root)) was written by a newer version of this program",
                    hint: "use that version, or another store with --root DIR")
            case .old: try migrations.apply(to: connection)
            case .current: break
            }
            try FaultPoint.pass("committed", "openDatabase", canFail: false)
            return Locked(connection)
        }
    }

    /// Ends all work with the database; idempotent. Later transactions fail.
    func close() throws(StoreFailure) { try Self.translating { try withConnection { try $0.close() } } }

    /// Runs `body` while no other thread uses the connection.
    private func withConnection<Value>(_ body: (SQLConnection) throws -> Value) throws -> Value {
        try connection.withLock { connection in Result { try body(connection) } }.get()
    }

    // MARK: Transactions

    /// Transactions begun since the database was opened, reading ones included.
    var transactionCount: Int { transactions.load(ordering: .relaxed) }

    func read<Value>(_ body: (StoreTransaction) throws -> Value) throws(StoreFailure) -> Value {
        transactions.add(1, ordering: .relaxed)
        return try Self.translating {
            try withConnection { connection in
                try connection.readTransaction {
                    try body(StoreTransaction(connection: connection, scope: scope))
                }
            }
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
            return try withConnection { connection in
                if promise == .durable { try connection.execute("PRAGMA synchronous = FULL") }
                defer {
                    if promise == .durable { _ = try? connection.execute("PRAGMA synchronous = NORMAL") }
                }
                let result = try connection.transaction(.immediate) {
                    let result = try body(StoreTransaction(connection: connection, scope: scope))
                    try Self.passFaultPoint("COMMIT", caller)
                    return result
                }
                try FaultPoint.pass("committed", caller, canFail: false)
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
            throw SQLError(error.isOutOfSpace ? .full : .ioError, "\(error)")
        }
    }

    private static func translating<Value>(_ body: () throws -> Value) throws(StoreFailure) -> Value {
        do {
            return try body()
        } catch let failure as StoreFailure {
            throw failure
        } catch let failure as SyscallFailure {
            throw StoreFailure(failure, "cannot change the store")
        } catch let failure as SQLError {
            throw StoreFailure(failure)
        } catch {
            throw StoreFailure(.database, "the store's database: \(error)")
        }
    }
}

extension StoreFailure {
    fileprivate init(_ failure: SQLError) {
        switch failure.code {
        case .busy, .locked:
            self.init(
                .busy, "the store's database stayed locked for 10 s",
                hint: "another process holds it; try again, or look for one that hangs")
        case .full:
            self.init(
                .outOfSpace, "cannot write the store's database: metadata.db: no space left on device",
                hint: "free some space, or put the store elsewhere with --root DIR")
        default:
            self.init(
                .database, "the store's database: \(failure.message)", hint: failure.hint)
        }
    }
}

extension SQLError {
    /// What helps (sqlite.org/rescode.html).
    fileprivate var hint: String? {
        switch code {
        case .corrupt, .notADatabase:
            "metadata.db is damaged: restore it, or use another store with --root DIR"
        case .cannotOpen, .readOnly, .permission:
            "check that metadata.db and its directory can be written to, and that inodes are left (df -i)"
        case .ioError:
            "the device or its connection failed: see the kernel's log, and check the file system"
        case .noMemory: "free some memory, or raise the limit of the container or service"
        default: nil
        }
    }
}
