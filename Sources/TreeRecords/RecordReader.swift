internal import Kernel

/// Whether a walk visits one path before the other: compares bytes, with `/` before all others.
func precedes(_ left: [UInt8], _ right: [UInt8]) -> Bool {
    func rank(_ byte: UInt8) -> UInt8 { byte == UInt8(ascii: "/") ? 0 : byte }
    return left.lexicographicallyPrecedes(right) { rank($0) < rank($1) }
}

/// Reads a record line by line, and refuses what `TreeRecord.write` does not write.
struct RecordReader: ~Copyable {
    struct Line {
        /// Unescaped.
        let path: [UInt8]
        let line: TreeLine
    }

    private let file: File
    private var buffer = [UInt8]()
    private var position = 0
    /// Lines read so far.
    private var number = 0
    private var paths = 0
    /// Nil at the end.
    private(set) var current: Line?

    /// The maximum length of a line in bytes: a path of some thousand levels, and a file's attributes.
    private static let longest = 16 << 20

    init(_ file: consuming File) throws {
        self.file = file
        guard let first = try nextLine(), first + [UInt8(ascii: "\n")] == TreeRecord.header[...] else {
            throw TreeRecordFailure.malformed(line: 1, "is not '#mtree'")
        }
    }

    private func malformed(_ what: String) -> TreeRecordFailure { .malformed(line: number, what) }

    /// - Returns: nil at the end of the file.
    private mutating func nextLine() throws -> ArraySlice<UInt8>? {
        number += 1
        var searched = position
        while true {
            if let end = buffer[searched...].firstIndex(of: UInt8(ascii: "\n")) {
                defer { position = end + 1 }
                return buffer[position..<end]
            }
            var more = [UInt8]()
            try file.read(into: &more, limit: 1 << 16)
            if more.isEmpty {
                if position < buffer.count { throw malformed("is cut off") }
                return nil
            }
            buffer.removeSubrange(..<position)
            position = 0
            searched = buffer.count
            buffer += more
            if buffer.count > Self.longest { throw malformed("is too long") }
        }
    }

    /// Moves to the next path.
    mutating func advance() throws {
        guard let text = try nextLine() else { throw malformed("is missing: the record is cut off") }
        if text.first == UInt8(ascii: "#") {
            guard text + [UInt8(ascii: "\n")] == TreeRecord.footer(paths)[...] else {
                throw malformed("does not say that there are \(paths) paths")
            }
            if try nextLine() != nil { throw malformed("comes after the end") }
            current = nil
            return
        }
        let end = text.firstIndex(of: UInt8(ascii: " ")) ?? text.endIndex
        guard let path = TreeLine.unescaped(text[..<end]), Self.isPath(path) else {
            throw malformed("has no path")
        }
        guard let line = TreeLine(parsing: text[end...]) else {
            throw malformed("has malformed keywords")
        }
        if let current {
            guard precedes(current.path, path) else { throw malformed("is out of order") }
        } else if path != [UInt8(ascii: ".")] {
            throw malformed("is not the top of the tree")
        }
        paths += 1
        current = Line(path: path, line: line)
    }

    /// Moves to the next path that is not below this one.
    mutating func skip(_ path: [UInt8]) throws {
        let below = path + [UInt8(ascii: "/")]
        repeat { try advance() } while current?.path.starts(with: below) ?? false
    }

    /// `.` or `./a/b`.
    private static func isPath(_ path: [UInt8]) -> Bool {
        let components = path.split(separator: UInt8(ascii: "/"), omittingEmptySubsequences: false)
        return components.first == [UInt8(ascii: ".")]
            && components.dropFirst().allSatisfy { FileName($0) != nil }
    }
}
