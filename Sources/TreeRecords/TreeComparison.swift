package import Kernel
package import OCI
internal import Streams

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
        } catch let mismatch as FileMismatch {
            try report(TreeDifference(path, .unreadable, found: "\(mismatch)"))
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
