import SQLite
import Streams
import SystemPackage
import TestSupport
import Testing

@Suite("SQLite's connections") struct SQLConnectionTests {
    private let directory: TemporaryDirectory
    private let path: FilePath
    private let connection: SQLConnection

    init() throws {
        directory = try TemporaryDirectory()
        path = directory.path.appending("db")
        connection = try SQLConnection(opening: path, busyTimeout: 50)
        try connection.execute("PRAGMA journal_mode = WAL")
        try connection.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, name TEXT, n INTEGER)")
    }

    private func names() throws -> [String?] {
        try connection.rows("SELECT name FROM t ORDER BY id") { $0.optionalText("name") }
    }

    private func error(_ body: () throws -> Void) -> SQLError.Code? {
        (#expect(throws: SQLError.self) { try body() })?.code
    }

    @Test("Values are stored as they are: empty ones, NUL, NULL, the largest number")
    func values() throws {
        let texts: [String?] = ["", "a\0b", "é\u{1F600}", nil, "'; DROP TABLE t; --"]
        for text in texts { try connection.execute("INSERT INTO t (name, n) VALUES (?, ?)", text, Int64.max) }
        #expect(try names() == texts)
        #expect(try connection.rows("SELECT n FROM t") { try $0.integer("n") } == texts.map { _ in .max })
        #expect(try connection.exists("SELECT 1 FROM t WHERE name IS NULL AND n = ?", Int64.max))
        #expect(try connection.execute("UPDATE t SET n = ? WHERE n > ?1", 1 as Int64) == 5)
        #expect(try connection.insert("INSERT INTO t (name) VALUES (?)", "new") == 6)
    }

    @Test("A value that is missing or of another type is an error, not a crash")
    func wrongValues() throws {
        try connection.execute("INSERT INTO t (name, n) VALUES (NULL, 'text')")
        for column in ["name", "n", "none"] {
            let code = error { _ = try connection.rows("SELECT * FROM t") { try $0.integer(column) } }
            #expect(code == .corrupt)
        }
        #expect(error { try connection.execute("SELECT ?, ?", "one") } == .misuse)
        #expect(error { try connection.execute("INSERT INTO t (id) VALUES (1)") } == .constraint)
    }

    @Test("What a transaction that throws has changed is undone, and the connection goes on")
    func transactions() throws {
        struct Failure: Error {}
        #expect(throws: Failure.self) {
            try connection.transaction(.immediate) {
                try connection.execute("INSERT INTO t (name) VALUES ('a')")
                throw Failure()
            }
        }
        try connection.transaction(.immediate) {
            try connection.execute("INSERT INTO t (name) VALUES ('b')")
            let count = try connection.rollingBack {
                try connection.execute("INSERT INTO t (name) VALUES ('c')")
                return try names().count
            }
            #expect(count == 2)
        }
        #expect(try names() == ["b"])
        let code = error {
            try connection.readTransaction { _ = try connection.execute("INSERT INTO t (name) VALUES ('d')") }
        }
        #expect(code == .readOnly)
        try connection.execute("INSERT INTO t (name) VALUES ('e')")
        #expect(try names() == ["b", "e"])
    }

    @Test("Changes that cannot be undone are an error, and none is kept")
    func undoneChanges() throws {
        let code = error {
            try connection.transaction(.immediate) {
                try connection.rollingBack {
                    try connection.execute("INSERT INTO t (name) VALUES ('a')")
                    try connection.execute("RELEASE undone")
                }
            }
        }
        #expect(code != nil)
        #expect(try names().isEmpty)
    }

    @Test("After SQLite has ended a transaction, no statement of it runs by itself")
    func endedTransaction() throws {
        try connection.execute("INSERT INTO t (id, name) VALUES (1, 'first')")
        let code = error {
            try connection.transaction(.immediate) {
                _ = try? connection.execute("INSERT OR ROLLBACK INTO t (id) VALUES (1)")
                try connection.execute("INSERT INTO t (name) VALUES ('alone')")
            }
        }
        #expect(code == .ioError)
        #expect(try names() == ["first"])
    }

    @Test("Several statements at once, and values of other types, are errors")
    func refused() throws {
        #expect(error { try connection.execute("SELECT 1; SELECT 2") } == .misuse)
        try connection.execute("INSERT INTO t (name, n) VALUES (x'ff', 1.5)")
        for column in ["n", "name", "CAST(x'ff' AS TEXT)"] {
            #expect(error { _ = try connection.rows("SELECT \(column) FROM t") { _ in } } == .corrupt)
        }
    }

    @Test("A second writer waits so long as it was told, and a closed connection refuses statements")
    func busy() throws {
        let other = try SQLConnection(opening: path, busyTimeout: 50)
        try connection.transaction(.immediate) {
            #expect(error { try other.transaction(.immediate) {} } == .busy)
        }
        try other.transaction(.immediate) {}
        try other.close()
        try other.close()
        #expect(error { try other.execute("SELECT 1") } == .misuse)
    }

    @Test("A path that is no UTF-8 is opened as it is; a directory that is missing is an error")
    func paths() throws {
        let name = FilePath(platformString: [0x61, -1, 0])
        _ = try SQLConnection(opening: directory.path.pushing(name), busyTimeout: 0)
        #expect(try Command.run("ls", "-b", directory.path.string).succeed().text.contains("a\\377"))
        #expect(error { _ = try SQLConnection(opening: "/nowhere/db", busyTimeout: 0) } == .cannotOpen)
    }

    @Test("A file that is no database is an error when it is read")
    func noDatabase() throws {
        let file = try directory.write(
            "text", Array("no database, however long it may be read on and on".utf8))
        let opened = try SQLConnection(opening: file, busyTimeout: 0)
        #expect(error { try opened.execute("CREATE TABLE x (a)") } == .notADatabase)
    }
}

@Suite("Migrations of a database") struct SQLMigrationsTests {
    private let directory: TemporaryDirectory

    init() throws { directory = try TemporaryDirectory() }

    private static let first = SQLMigrations.Migration("1") { try $0.execute("CREATE TABLE a (x)") }
    private static let second = SQLMigrations.Migration("2") { try $0.execute("INSERT INTO a VALUES (1)") }

    private func open() throws -> SQLConnection {
        try SQLConnection(opening: directory.path.appending("db"), busyTimeout: 10_000)
    }

    @Test("Each runs once, in order; a newer database is recognized")
    func order() throws {
        let connection = try open()
        let old = SQLMigrations([Self.first])
        let new = SQLMigrations([Self.first, Self.second])
        #expect(try old.state(of: connection) == .old)
        try old.apply(to: connection)
        #expect(try old.state(of: connection) == .current)
        #expect(try new.state(of: connection) == .old)
        for _ in 0..<2 { try new.apply(to: connection) }
        #expect(try connection.rows("SELECT x FROM a") { try $0.integer("x") } == [1])
        #expect(try new.state(of: connection) == .current)
        #expect(try old.state(of: connection) == .newer)
    }

    @Test("Connections that apply them at once run each once")
    func parallel() throws {
        let setup = try open()
        try setup.execute("PRAGMA journal_mode = WAL")
        let threads = try (0..<4).map { _ in
            try WorkerThread { [self] in
                try SQLMigrations([Self.first, Self.second]).apply(to: try open())
            }
        }
        for thread in threads { try thread.join() }
        #expect(try setup.rows("SELECT x FROM a") { try $0.integer("x") } == [1])
    }

    @Test("A migration that fails, or leaves a reference without a row, leaves nothing")
    func failure() throws {
        let connection = try open()
        let broken = SQLMigrations([
            Self.first,
            SQLMigrations.Migration("2") {
                try $0.executeAll(
                    """
                    CREATE TABLE parent (id INTEGER PRIMARY KEY);
                    CREATE TABLE child (parent INTEGER REFERENCES parent(id));
                    INSERT INTO child VALUES (7);
                    """)
            },
        ])
        let failure = #expect(throws: SQLError.self) { try broken.apply(to: connection) }
        #expect(failure?.code == .constraint)
        #expect(try broken.state(of: connection) == .old)
        #expect(try !connection.exists("SELECT 1 FROM sqlite_master WHERE name = 'child'"))
    }
}
