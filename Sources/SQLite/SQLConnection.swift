internal import CSQLite
package import SystemPackage

/// A connection to a database. It belongs to one thread at a time.
package final class SQLConnection {
    /// Nil after `close`.
    private var handle: OpaquePointer?

    /// The version of the library, e.g. `3.40.1`.
    package static var version: String { String(cString: sqlite3_libversion()) }

    /// Opens a database, created if it is missing.
    ///
    /// - Parameter busyTimeout: how long a statement waits for another connection, in milliseconds.
    package init(opening path: FilePath, busyTimeout: Int32) throws(SQLError) {
        let flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE
        let code = path.withPlatformString { sqlite3_open_v2($0, &handle, flags, nil) }
        guard code == SQLITE_OK else {
            let error = failure(code)
            _ = sqlite3_close_v2(handle)
            handle = nil
            throw error
        }
        sqlite3_busy_timeout(handle, busyTimeout)
    }

    deinit { _ = sqlite3_close_v2(handle) }

    /// Closes the connection; idempotent. Later statements fail with `.misuse`.
    package func close() throws(SQLError) {
        let code = sqlite3_close(handle)
        guard code == SQLITE_OK else { throw failure(code) }
        handle = nil
    }

    private func failure(_ code: Int32) -> SQLError {
        let message = handle.flatMap { sqlite3_errmsg($0) } ?? sqlite3_errstr(code)
        return SQLError(extended: code, message.map { String(cString: $0) } ?? "unknown error")
    }

    // MARK: Statements

    /// - Returns: how many rows the statement has changed.
    @discardableResult
    package func execute(_ sql: String, _ values: any SQLBindable...) throws -> Int {
        try execute(sql, values: values)
    }

    @discardableResult
    package func execute(_ sql: String, values: [any SQLBindable]) throws -> Int {
        try run(sql, values) { _ in }
        return Int(sqlite3_changes(handle))
    }

    /// - Returns: the ID of the row that the statement has inserted.
    package func insert(_ sql: String, _ values: any SQLBindable...) throws -> Int64 {
        try run(sql, values) { _ in }
        return sqlite3_last_insert_rowid(handle)
    }

    package func rows<Value>(
        _ sql: String, _ values: any SQLBindable..., as value: (SQLRow) throws -> Value
    ) throws -> [Value] {
        try rows(sql, values: values, as: value)
    }

    package func rows<Value>(
        _ sql: String, values: [any SQLBindable], as value: (SQLRow) throws -> Value
    ) throws -> [Value] {
        var found = [Value]()
        try run(sql, values) { found.append(try value($0)) }
        return found
    }

    package func exists(_ sql: String, _ values: any SQLBindable...) throws -> Bool {
        var isFound = false
        try run(sql, values) { _ in isFound = true }
        return isFound
    }

    /// Executes several statements without values.
    package func executeAll(_ script: String) throws {
        let code = sqlite3_exec(try openHandle(), script, nil, nil, nil)
        guard code == SQLITE_OK else { throw failure(code) }
    }

    private func openHandle() throws(SQLError) -> OpaquePointer {
        guard let handle else { throw SQLError(.misuse, "the connection is closed") }
        return handle
    }

    private func run(_ sql: String, _ values: [any SQLBindable], _ body: (SQLRow) throws -> Void) throws {
        let handle = try openHandle()
        guard isInTransaction || mode == .none else {
            // A statement would run, and stay, without the transaction (sqlite.org/lang_transaction.html).
            throw SQLError(.ioError, "SQLite has ended the transaction after an error")
        }
        var statement: OpaquePointer?
        let (code, hasMore) = sql.withCString { text in
            var rest: UnsafePointer<CChar>?
            let code = sqlite3_prepare_v2(handle, text, -1, &statement, &rest)
            return (code, rest.map { $0.pointee != 0 } ?? false)
        }
        guard code == SQLITE_OK, let statement else { throw failure(code) }
        defer { sqlite3_finalize(statement) }
        if hasMore { throw SQLError(.misuse, "more than one statement at a time") }
        if mode == .reading, sqlite3_stmt_readonly(statement) == 0 {
            throw SQLError(.readOnly, "a statement of a reading transaction writes")
        }
        try bind(values, to: statement)
        try step(statement, body)
    }

    private func bind(_ values: [any SQLBindable], to statement: OpaquePointer) throws(SQLError) {
        guard sqlite3_bind_parameter_count(statement) == values.count else {
            throw SQLError(.misuse, "a statement has another number of values than parameters")
        }
        for (index, value) in values.enumerated() {
            let code = Self.bind(value.sqlValue, to: statement, at: Int32(index + 1))
            guard code == SQLITE_OK else { throw failure(code) }
        }
    }

    private static func bind(_ value: SQLValue, to statement: OpaquePointer, at parameter: Int32) -> Int32 {
        switch value {
        case .null: return sqlite3_bind_null(statement, parameter)
        case .integer(let number): return sqlite3_bind_int64(statement, parameter, number)
        case .text(var text):
            return text.withUTF8 { bytes in
                bytes.withMemoryRebound(to: CChar.self) {
                    cs_bind_text(statement, parameter, $0.baseAddress, Int32($0.count))
                }
            }
        }
    }

    private func step(_ statement: OpaquePointer, _ body: (SQLRow) throws -> Void) throws {
        let count = sqlite3_column_count(statement)
        var columns = [String: Int]()
        for index in 0..<count {
            // Null only without memory. Of two columns with one name the first counts.
            guard let name = sqlite3_column_name(statement, index) else { throw failure(SQLITE_NOMEM) }
            let key = String(cString: name)
            if columns[key] == nil { columns[key] = Int(index) }
        }
        while true {
            let code = sqlite3_step(statement)
            if code == SQLITE_DONE { return }
            guard code == SQLITE_ROW else { throw failure(code) }
            try body(SQLRow(columns: columns, values: try (0..<count).map { try Self.value(statement, $0) }))
        }
    }

    /// - Throws: `.corrupt` for a type that no column has: a value that is taken for NULL would say that there is none.
    private static func value(_ statement: OpaquePointer, _ column: Int32) throws(SQLError) -> SQLValue {
        switch sqlite3_column_type(statement, column) {
        case SQLITE_NULL: return .null
        case SQLITE_INTEGER: return .integer(sqlite3_column_int64(statement, column))
        case SQLITE_TEXT:
            guard let text = sqlite3_column_text(statement, column) else {
                throw SQLError(.noMemory, "out of memory")
            }
            let bytes = UnsafeBufferPointer(start: text, count: Int(sqlite3_column_bytes(statement, column)))
            guard let valid = String(validating: bytes, as: UTF8.self) else {
                throw SQLError(.corrupt, "a text is not UTF-8")
            }
            return .text(valid)
        default: throw SQLError(.corrupt, "a value is neither a text nor an integer")
        }
    }

    // MARK: Transactions

    package enum TransactionKind: String, Sendable {
        case deferred, immediate
    }

    private enum Mode { case none, reading, writing }

    private var mode = Mode.none

    /// Runs `body` in a transaction: committed when it returns, rolled back when it throws.
    package func transaction<Value>(_ kind: TransactionKind, _ body: () throws -> Value) throws -> Value {
        try transaction(kind, .writing, body)
    }

    /// Runs `body` in a transaction that cannot write.
    package func readTransaction<Value>(_ body: () throws -> Value) throws -> Value {
        try transaction(.deferred, .reading, body)
    }

    private func transaction<Value>(
        _ kind: TransactionKind, _ newMode: Mode, _ body: () throws -> Value
    ) throws -> Value {
        // One that could not be rolled back would keep its locks.
        if isInTransaction { try execute("ROLLBACK") }
        try execute("BEGIN \(kind.rawValue)")
        mode = newMode
        defer { mode = .none }
        do {
            let value = try body()
            try execute("COMMIT")
            return value
        } catch {
            // SQLite may have rolled back already (sqlite.org/lang_transaction.html).
            if isInTransaction { _ = try? execute("ROLLBACK") }
            throw error
        }
    }

    /// Runs `body` inside a transaction and undoes all that it has changed.
    ///
    /// - Throws: what `body` throws; the error of SQLite if the changes cannot be undone.
    package func rollingBack<Value>(_ body: () throws -> Value) throws -> Value {
        try execute("SAVEPOINT undone")
        let result = Result { try body() }
        try execute("ROLLBACK TO undone")
        try execute("RELEASE undone")
        return try result.get()
    }

    private var isInTransaction: Bool { handle.map { sqlite3_get_autocommit($0) == 0 } ?? false }
}
