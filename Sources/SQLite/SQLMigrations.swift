/// The versions of a schema: each migration runs once in the life of a database, in the order of this list.
package struct SQLMigrations: Sendable {
    package struct Migration: Sendable {
        /// Never changes.
        let name: String
        let body: @Sendable (SQLConnection) throws -> Void

        package init(_ name: String, _ body: @escaping @Sendable (SQLConnection) throws -> Void) {
            self.name = name
            self.body = body
        }
    }

    private let migrations: [Migration]

    package init(_ migrations: [Migration]) { self.migrations = migrations }

    /// The table of the names, called as in the first versions of the store.
    private static let table = "grdb_migrations"

    package enum State: Equatable, Sendable {
        /// Migrations are missing.
        case old
        case current
        /// The database has migrations that this list lacks.
        case newer
    }

    package func state(of connection: SQLConnection) throws -> State {
        let applied = try applied(in: connection)
        let known = Set(migrations.map(\.name))
        if !applied.isSubset(of: known) { return .newer }
        return applied == known ? .current : .old
    }

    private func applied(in connection: SQLConnection) throws -> Set<String> {
        guard
            try connection.exists(
                "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = ?", Self.table)
        else { return [] }
        return Set(try connection.rows("SELECT identifier FROM \(Self.table)") { try $0.text("identifier") })
    }

    /// Applies the missing migrations, each in a transaction of its own. Other processes may do the same.
    package func apply(to connection: SQLConnection) throws {
        for migration in migrations {
            // Not within the transaction, where it has no effect (sqlite.org/pragma.html).
            try connection.execute("PRAGMA foreign_keys = 0")
            let result = Result { try apply(migration, to: connection) }
            try connection.execute("PRAGMA foreign_keys = 1")
            try result.get()
        }
    }

    private func apply(_ migration: Migration, to connection: SQLConnection) throws {
        try connection.transaction(.immediate) {
            try connection.execute(
                "CREATE TABLE IF NOT EXISTS \(Self.table) (identifier TEXT NOT NULL PRIMARY KEY)")
            if try applied(in: connection).contains(migration.name) { return }
            try migration.body(connection)
            try connection.execute("INSERT INTO \(Self.table) VALUES (?)", migration.name)
            if try connection.exists("PRAGMA foreign_key_check") {
                throw SQLError(
                    .constraint, "the migration \(migration.name) leaves a reference without a row")
            }
        }
    }
}
