package import Kernel
package import OCI
internal import Streams

/// One difference between a tree and its record.
package struct TreeDifference: Equatable, Sendable, CustomStringConvertible {
    package enum What: Equatable, Sendable {
        /// The path is recorded and does not exist. The same is true of all recorded paths below it.
        case missing
        /// The path exists and is not recorded. Paths below it were not visited.
        case extra
        /// The value of a keyword differs: one of mtree(5), of go-mtree (`xattr.NAME`) or this program's `hardlink`.
        case changed(String)
        /// The path cannot be read; `found` has the reason.
        case unreadable
    }

    /// Relative to the root of the tree, which is `.`; escaped for a terminal.
    package let path: String
    package let what: What
    /// The keyword's values in the form of the record; nil for a missing keyword.
    package let expected: String?
    package let found: String?

    init(_ path: [UInt8], _ what: What, expected: String? = nil, found: String? = nil) {
        self.path = escaped(path.count > 2 ? path.dropFirst(2) : path[...])
        self.what = what
        self.expected = expected
        self.found = found
    }

    package var description: String {
        switch what {
        case .missing: "\(path): is missing"
        case .extra: "\(path): is not recorded"
        case .unreadable: "\(path): cannot be read: \(found ?? "")"
        case .changed(RecordStrength.checksum.rawValue): changed("the content's checksum")
        case .changed(RecordStrength.digest.rawValue): changed("the content's digest")
        case .changed(let keyword): changed(keyword)
        }
    }

    private func changed(_ what: String) -> String {
        "\(path): \(what) is \(found ?? "missing"), "
            + (expected.map { "recorded as \($0)" } ?? "not recorded")
    }
}

/// A record that does not describe a tree.
package enum TreeRecordFailure: Error, Equatable, Sendable, CustomStringConvertible {
    /// The record does not have the digest that it was written with.
    case altered(expected: Digest, found: Digest)
    /// - Parameter line: counted from 1.
    case malformed(line: Int, String)
    /// The tree changed while it was recorded: `path`, escaped, was removed.
    case changing(path: String)

    package var description: String {
        switch self {
        case .altered(let expected, let found):
            "the record of the tree is damaged: it is \(found), not \(expected)"
        case .malformed(let line, let what): "the record of the tree is damaged: line \(line) \(what)"
        case .changing(let path): "the tree changed while it was recorded: '\(path)' was removed"
        }
    }
}

package enum TreeComparison {
    /// Compares a tree with its record, and reports every difference in the order of the record. A file that cannot be
    /// read is a difference, too, and does not end the work.
    ///
    /// - Parameters:
    ///   - record: the name of the record's file in `folder`.
    ///   - digest: the result of `TreeRecord.write`; nil if it is not known. With it a damaged record is found before
    ///     any difference is reported.
    ///   - check: called between paths and after every 256 KiB of a file; an error that it throws ends the work.
    /// - Returns: the number of compared paths, and how well the record holds the content of all files.
    /// - Throws: `TreeRecordFailure`; `SyscallFailure` if the record cannot be read; errors of `check`.
    @discardableResult
    package static func compare(
        tree: Directory, with record: FileName, in folder: Directory, digest: Digest?,
        check: () throws -> Void = {}, report: (TreeDifference) throws -> Void
    ) throws -> (paths: Int, strength: RecordStrength) {
        if let digest {
            let found = try self.digest(of: try folder.openFile(record), check)
            if found != digest { throw TreeRecordFailure.altered(expected: digest, found: found) }
        }
        var join = Join(walk: TreeWalk(tree), reader: try RecordReader(try folder.openFile(record)))
        try join.run(check: check, report: report)
        return (join.paths, join.strength)
    }

    private static func digest(of file: consuming File, _ check: () throws -> Void) throws -> Digest {
        var digester = Digester(.sha256)
        var buffer = [UInt8]()
        repeat {
            try check()
            try file.read(into: &buffer, limit: 1 << 16)
            digester.update(buffer)
        } while !buffer.isEmpty
        return digester.finish()
    }
}

/// A parallel walk through a tree and its record, which have the same order.
private struct Join: ~Copyable {
    private var walk: TreeWalk
    private var reader: RecordReader
    private var links = LinkGroups()
    private let buffer = ReadBuffer(size: TreeRecord.readSize)
    private(set) var paths = 0
    private(set) var strength = RecordStrength.digest

    init(walk: consuming TreeWalk, reader: consuming RecordReader) {
        self.walk = walk
        self.reader = reader
    }

    mutating func run(check: () throws -> Void, report: (TreeDifference) throws -> Void) throws {
        try reader.advance()
        while let step = walk.next() {
            try check()
            paths += 1
            let path = walk.path
            while let recorded = reader.current, precedes(recorded.path, path) {
                try report(TreeDifference(recorded.path, .missing))
                try reader.skip(recorded.path)
            }
            guard let recorded = reader.current, recorded.path == path else {
                if case .vanished = step { continue }
                try report(TreeDifference(path, .extra))
                if case .entry(let entry) = step, entry.directory != nil { walk.skipContents() }
                continue
            }
            switch step {
            case .vanished:
                try report(TreeDifference(path, .missing))
                try reader.skip(path)
            case .unreadable(let failure):
                try report(TreeDifference(path, .unreadable, found: "\(failure)"))
                try reader.skip(path)
            case .entry(let entry): try compare(entry, recorded, check, report)
            }
        }
        while let recorded = reader.current {
            try check()
            try report(TreeDifference(recorded.path, .missing))
            try reader.skip(recorded.path)
        }
    }

    private mutating func compare(
        _ entry: TreeWalk.Entry, _ recorded: RecordReader.Line, _ check: () throws -> Void,
        _ report: (TreeDifference) throws -> Void
    ) throws {
        let path = recorded.path
        let expected = recorded.line
        let type = Array(TreeLine.type(of: entry.status).utf8)
        guard type == expected["type"] else {
            try report(difference(path, "type", expected["type"], type))
            if entry.directory != nil { walk.skipContents() }
            return try reader.skip(path)
        }
        let first = links.firstName(of: entry, at: walk.escapedPath)
        strength = min(strength, expected.strength ?? .digest)
        let expectedFirst = expected["hardlink"]
        if first != expectedFirst { try report(difference(path, "hardlink", expectedFirst, first)) }
        // All other keywords are in the line of the first hard link.
        if expectedFirst != nil { return try reader.advance() }
        let found: TreeLine
        do {
            found = try TreeLine(
                entry, buffer: buffer, strength: expected.strength ?? .digest, check: check)
        } catch let failure as SyscallFailure {
            try report(TreeDifference(path, .unreadable, found: "\(failure)"))
            return try reader.advance()
        }
        for (name, expected, found) in expected.differences(to: found) {
            try report(difference(path, name, expected, found))
        }
        try reader.advance()
    }

    private func difference(
        _ path: [UInt8], _ keyword: [UInt8], _ expected: [UInt8]?, _ found: [UInt8]?
    ) -> TreeDifference {
        TreeDifference(
            path, .changed(String(decoding: keyword, as: UTF8.self)),
            expected: expected.map { String(decoding: $0, as: UTF8.self) },
            found: found.map { String(decoding: $0, as: UTF8.self) })
    }

    private func difference(
        _ path: [UInt8], _ keyword: String, _ expected: [UInt8]?, _ found: [UInt8]?
    ) -> TreeDifference {
        difference(path, Array(keyword.utf8), expected, found)
    }
}

/// Whether a walk visits one path before the other: compares bytes, with `/` before all others.
private func precedes(_ left: [UInt8], _ right: [UInt8]) -> Bool {
    func rank(_ byte: UInt8) -> UInt8 { byte == UInt8(ascii: "/") ? 0 : byte }
    return left.lexicographicallyPrecedes(right) { rank($0) < rank($1) }
}

/// Reads a record line by line, and refuses what `TreeRecord.write` does not write.
private struct RecordReader: ~Copyable {
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
