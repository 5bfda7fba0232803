internal import CSQLite

/// A failure of SQLite.
package struct SQLError: Error, Equatable, Sendable, CustomStringConvertible {
    /// A primary result code (sqlite.org/rescode.html).
    package struct Code: RawRepresentable, Hashable, Sendable {
        package let rawValue: Int32

        package init(rawValue: Int32) { self.rawValue = rawValue }

        package static let busy = Code(rawValue: SQLITE_BUSY)
        package static let cannotOpen = Code(rawValue: SQLITE_CANTOPEN)
        package static let constraint = Code(rawValue: SQLITE_CONSTRAINT)
        package static let corrupt = Code(rawValue: SQLITE_CORRUPT)
        package static let full = Code(rawValue: SQLITE_FULL)
        package static let ioError = Code(rawValue: SQLITE_IOERR)
        package static let locked = Code(rawValue: SQLITE_LOCKED)
        package static let misuse = Code(rawValue: SQLITE_MISUSE)
        package static let noMemory = Code(rawValue: SQLITE_NOMEM)
        package static let notADatabase = Code(rawValue: SQLITE_NOTADB)
        package static let permission = Code(rawValue: SQLITE_PERM)
        package static let readOnly = Code(rawValue: SQLITE_READONLY)
    }

    package let code: Code
    package let message: String

    package init(_ code: Code, _ message: String) {
        self.code = code
        self.message = message
    }

    /// - Parameter extended: an extended result code.
    init(extended: Int32, _ message: String) {
        // The index of the log cannot grow: the file system has no space. Swift does not import the macro.
        let noSpaceForIndex = SQLITE_IOERR | 19 << 8
        let primary = extended & 0xFF
        // SQLITE_PROTOCOL: the lock of the log was lost to other processes too often.
        let code: Code = primary == SQLITE_PROTOCOL ? .busy : Code(rawValue: primary)
        self.init(extended == noSpaceForIndex ? .full : code, message)
    }

    package var description: String { "SQLite: \(message) (\(code.rawValue))" }
}
