internal import GRDB
internal import Kernel

/// Runs system calls; `doing` is how a failure's message begins.
func attempting<Value>(
    _ doing: @autoclosure () -> String, _ body: () throws(SyscallFailure) -> Value
) throws(StoreFailure) -> Value {
    do {
        return try body()
    } catch {
        throw StoreFailure(error, doing())
    }
}

/// Runs work on the database and turns whatever it throws into a `StoreFailure`.
func translating<Value>(_ body: () throws -> Value) throws(StoreFailure) -> Value {
    do {
        return try body()
    } catch let failure as StoreFailure {
        throw failure
    } catch let failure as SyscallFailure {
        throw StoreFailure(failure, "cannot change the store")
    } catch let failure as DatabaseError {
        // The index of the log cannot be made (sqlite.org/rescode.html): a full disk, said in another way.
        let isOutOfSpace = failure.extendedResultCode == .SQLITE_IOERR_SHMSIZE
        switch isOutOfSpace ? .SQLITE_FULL : failure.resultCode.primaryResultCode {
        case .SQLITE_BUSY, .SQLITE_LOCKED:
            throw StoreFailure(
                .busy, "the store's database stayed locked for 10 s",
                hint: "another process holds it; try again, or look for one that hangs")
        case .SQLITE_FULL:
            throw StoreFailure(
                SyscallFailure("write", path: "metadata.db", code: 28), "cannot write the store's database")
        default:
            throw StoreFailure(
                .database, "the store's database: \(failure.message ?? "\(failure)")", hint: failure.hint)
        }
    } catch {
        throw StoreFailure(.database, "the store's database: \(error)")
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

/// Comes to a fault point of a transaction, and fails as SQLite does where a call of its own fails.
func passFaultPoint(_ step: String, _ caller: String) throws {
    do throws(SyscallFailure) {
        try FaultPoint.pass(step, caller)
    } catch {
        throw DatabaseError(
            resultCode: error.isOutOfSpace ? .SQLITE_FULL : .SQLITE_IOERR, message: "\(error)")
    }
}

extension SnapshotStore {
    func read<Value>(_ body: @Sendable (Database) throws -> Value) throws(StoreFailure) -> Value {
        try translating { try database.read(body) }
    }

    /// What a transaction promises when it has returned.
    enum Transaction {
        /// Every process sees it.
        case ordinary
        /// It is on the disk, too.
        case durable
    }

    /// One immediate transaction: nobody else writes meanwhile, nothing of it stays if it throws.
    ///
    /// - Parameter caller: what a fault point calls it.
    func write<Value>(
        _ promise: Transaction = .ordinary, caller: String = #function, _ body: (Database) throws -> Value
    ) throws(StoreFailure) -> Value {
        try translating {
            try passFaultPoint("BEGIN", caller)
            return try database.writeWithoutTransaction { database in
                if promise == .durable { try database.execute(sql: "PRAGMA synchronous = FULL") }
                defer { if promise == .durable { try? database.execute(sql: "PRAGMA synchronous = NORMAL") } }
                var result: Value?
                try database.inTransaction(.immediate) {
                    result = try body(database)
                    try passFaultPoint("COMMIT", caller)
                    return .commit
                }
                try FaultPoint.pass("committed", caller, canFail: false)
                guard let result else { throw StoreFailure(.database, "a transaction without a result") }
                return result
            }
        }
    }

    /// - Throws: `.notFound`.
    func row(_ name: String, _ database: Database) throws -> SnapshotRow {
        guard let row = try SnapshotRow.named(name, snapshotter, database) else {
            throw StoreFailure(
                .notFound, "there is no snapshot '\(name)'", hint: "list them with 'unpack snapshot ls'")
        }
        return row
    }
}
