internal import GRDB

/// The connection that a transaction runs on: executes SQL text with bound values.
///
/// Together with `StoreDatabase`, the only code that calls GRDB.
struct SQLConnection {
    private let database: Database

    init(_ database: Database) { self.database = database }

    /// Executes one statement, or several without values.
    ///
    /// - Returns: how many rows the last statement has changed.
    @discardableResult
    func execute(_ sql: String, _ values: any SQLBindable...) throws -> Int {
        try execute(sql, values: values)
    }

    @discardableResult
    func execute(_ sql: String, values: [any SQLBindable]) throws -> Int {
        try database.execute(sql: sql, arguments: arguments(values))
        return database.changesCount
    }

    /// - Returns: the row ID of the row that the statement has inserted.
    func insert(_ sql: String, _ values: any SQLBindable...) throws -> Int64 {
        try execute(sql, values: values)
        return database.lastInsertedRowID
    }

    func rows<Value>(
        _ sql: String, _ values: any SQLBindable..., as value: (SQLRow) throws -> Value
    ) throws -> [Value] {
        try rows(sql, values: values, as: value)
    }

    func rows<Value>(
        _ sql: String, values: [any SQLBindable], as value: (SQLRow) throws -> Value
    ) throws -> [Value] {
        let cursor = try Row.fetchCursor(database, sql: sql, arguments: arguments(values))
        var found = [Value]()
        while let row = try cursor.next() { found.append(try value(SQLRow(row))) }
        return found
    }

    func exists(_ sql: String, _ values: any SQLBindable...) throws -> Bool {
        try Row.fetchOne(database, sql: sql, arguments: arguments(values)) != nil
    }

    /// Runs `body` and undoes all that it has changed.
    func rollingBack<Value>(_ body: () throws -> Value) throws -> Value {
        var result: Value?
        try database.inSavepoint {
            result = try body()
            return .rollback
        }
        guard let result else { throw StoreFailure(.internalError, "a savepoint without a result") }
        return result
    }

    private func arguments(_ values: [any SQLBindable]) -> StatementArguments {
        StatementArguments(
            values.map { value -> (any DatabaseValueConvertible)? in
                switch value.sqlValue {
                case .null: nil
                case .integer(let number): number
                case .text(let text): text
                }
            })
    }
}

/// A value that a statement stores or compares.
enum SQLValue {
    case null
    case integer(Int64)
    case text(String)
}

protocol SQLBindable {
    var sqlValue: SQLValue { get }
}

extension Int64: SQLBindable {
    var sqlValue: SQLValue { .integer(self) }
}

extension String: SQLBindable {
    var sqlValue: SQLValue { .text(self) }
}

extension Optional: SQLBindable where Wrapped: SQLBindable {
    var sqlValue: SQLValue { map(\.sqlValue) ?? .null }
}

/// One row of a result.
struct SQLRow {
    private let row: Row

    fileprivate init(_ row: Row) { self.row = row }

    /// - Throws: `.database` for a column that is NULL or no text.
    func text(_ column: String) throws -> String { try required(optionalText(column), column) }

    func optionalText(_ column: String) -> String? { String.fromDatabaseValue(value(column)) }

    /// - Throws: `.database` for a column that is NULL or no integer.
    func integer(_ column: String) throws -> Int64 { try required(optionalInteger(column), column) }

    func optionalInteger(_ column: String) -> Int64? { Int64.fromDatabaseValue(value(column)) }

    private func value(_ column: String) -> DatabaseValue { row[column] ?? .null }

    private func required<Value>(_ value: Value?, _ column: String) throws -> Value {
        guard let value else {
            throw StoreFailure(.database, "the store's database: the column '\(column)' has no usable value")
        }
        return value
    }
}
