/// A value that a statement binds or returns.
package enum SQLValue: Equatable, Sendable {
    case null
    case integer(Int64)
    case text(String)
}

/// A type whose values a statement can bind.
package protocol SQLBindable {
    var sqlValue: SQLValue { get }
}

extension Int64: SQLBindable {
    package var sqlValue: SQLValue { .integer(self) }
}

extension String: SQLBindable {
    package var sqlValue: SQLValue { .text(self) }
}

extension Optional: SQLBindable where Wrapped: SQLBindable {
    package var sqlValue: SQLValue { map(\.sqlValue) ?? .null }
}

/// One row of a result.
package struct SQLRow {
    let columns: [String: Int]
    let values: [SQLValue]

    /// - Throws: `.corrupt` for a column that is NULL or not a text.
    package func text(_ column: String) throws(SQLError) -> String {
        try required(optionalText(column), column)
    }

    /// Nil for NULL, and for a value that is not a text.
    package func optionalText(_ column: String) -> String? {
        if case .text(let text) = self[column] { text } else { nil }
    }

    /// - Throws: `.corrupt` for a column that is NULL or not an integer.
    package func integer(_ column: String) throws(SQLError) -> Int64 {
        try required(optionalInteger(column), column)
    }

    /// Nil for NULL, and for a value that is not an integer.
    package func optionalInteger(_ column: String) -> Int64? {
        if case .integer(let number) = self[column] { number } else { nil }
    }

    private subscript(column: String) -> SQLValue { columns[column].map { values[$0] } ?? .null }

    private func required<Value>(_ value: Value?, _ column: String) throws(SQLError) -> Value {
        guard let value else { throw SQLError(.corrupt, "the column '\(column)' has no usable value") }
        return value
    }
}
