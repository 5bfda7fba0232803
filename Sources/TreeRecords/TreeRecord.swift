package import Kernel
package import OCI
package import Streams

/// A record of a tree, with which every later change of the tree can be found.
///
/// An mtree(5) specification, as libarchive, mtree(8) and go-mtree write it: one line for each path, each directory
/// before its content, names in the order of their bytes, `\ooo` for bytes that cannot be in a line:
///
///     #mtree
///     . type=dir mode=0755 uid=0 gid=0 time=0.000000000
///     ./bin type=dir mode=0755 uid=0 gid=0 time=1700000000.000000000 xattr.trusted.overlay.opaque=eQ==
///     ./bin/a\040b type=file mode=0755 uid=0 gid=0 time=1700000000.000000000 size=5 sha256blocks=21eb…
///     ./bin/b type=file hardlink=./bin/a\040b
///     ./bin/c type=link mode=0777 uid=0 gid=0 time=1700000000.000000000 link=b
///     ./bin/d type=char mode=0000 uid=0 gid=0 time=0.000000000 device=linux,0,0
///     # 6 paths
///
/// `sha256blocks` is a `ContentDigest`: SHA-256 over the content, computed without reading holes. Earlier versions
/// wrote `cksum` (cksum(1), a CRC-32) instead, for which content can be forged; the program compares such a record as
/// it is.
///
/// The record has all extended attributes of files (go-mtree's `xattr.`, in base64), those of overlay included.
/// Attributes of the kernel are left out (`AttributeName.belongsToFile`), and ignored in records of earlier versions.
/// `hardlink` is this program's own keyword: the path is a hard link to the file at the given path, whose line has all
/// other keywords. mtree(5) defines none of the three: libarchive warns about them and reads the rest; mtree of the
/// BSDs needs them removed.
///
/// Values that differ between two copies of a tree are left out: inode numbers, link counts, sizes of directories,
/// access and change times. The last line distinguishes a complete record from one that was cut off.
package enum TreeRecord {
    static let header = Array("#mtree\n".utf8)
    /// Bytes of a file in one read.
    static let readSize = 1 << 18
    static func footer(_ paths: Int) -> [UInt8] { Array("# \(paths) paths\n".utf8) }

    /// Records a tree that does not change meanwhile. Memory grows with the names of a directory and with the number
    /// of files that have several hard links, not with the size of the tree.
    ///
    /// - Parameters:
    ///   - file: the record is written at its position.
    ///   - known: digests of regular files that the caller has already; other files are read.
    ///   - check: called between paths and after every 256 KiB of a file; an error that it throws ends the work.
    /// - Returns: the digest of the record, which is the same for equal trees, and the space of the tree.
    /// - Throws: `SyscallFailure`, errors of `check`.
    package static func write(
        tree: Directory, to file: borrowing File, known: (FileStatus) -> ContentDigest? = { _ in nil },
        check: () throws -> Void = {}
    ) throws -> (digest: Digest, usage: TreeUsage) {
        var usage = UsageCount()
        var walk = TreeWalk(tree)
        var links = LinkGroups()
        var digester = Digester(.sha256)
        let buffer = ReadBuffer(size: readSize)
        var output = header
        var paths = 0
        func flush(to file: borrowing File) throws {
            digester.update(output)
            try output.withRawSpan { span throws(SyscallFailure) in try file.write(span) }
            output.removeAll(keepingCapacity: true)
        }
        while let step = walk.next() {
            try check()
            switch step {
            case .unreadable(let failure): throw failure
            case .vanished: throw TreeRecordFailure.changing(path: escaped(walk.path))
            case .entry(let entry):
                usage.add(entry.status)
                let line =
                    if let first = links.firstName(of: entry, at: walk.escapedPath) {
                        TreeLine(linkTo: first, entry.status)
                    } else {
                        try TreeLine(entry, buffer: buffer, known: known, check: check)
                    }
                line.write(path: walk.escapedPath, onto: &output)
            }
            paths += 1
            if output.count >= 1 << 16 { try flush(to: file) }
        }
        output += footer(paths)
        try flush(to: file)
        return (digester.finish(), usage.usage)
    }
}

/// How well a record holds the content of files; the raw value is the keyword.
package enum RecordStrength: String, CaseIterable, Comparable, Sendable {
    /// CRC-32 (cksum(1)) in records of earlier versions: detects faults of disks, and no intended change.
    case checksum = "cksum"
    /// SHA-256 (`ContentDigest`).
    case digest = "sha256blocks"

    package static func < (left: Self, right: Self) -> Bool { left == .checksum && right == .digest }
}

/// Files with several hard links, by the first visited path of each.
struct LinkGroups {
    private var groups = [FileStatus.Identity: (first: [UInt8], rest: UInt64)]()

    /// The escaped path of the first visit of a file; nil if this is the first visit, whose path is `path`.
    mutating func firstName(of entry: TreeWalk.Entry, at path: [UInt8]) -> [UInt8]? {
        let status = entry.status
        // Whiteouts have no content, and overlay makes them hard links to one device or not.
        guard !status.isDirectory, !status.isWhiteout, status.linkCount > 1 else { return nil }
        guard let group = groups[status.identity] else {
            groups[status.identity] = (path, status.linkCount - 1)
            return nil
        }
        // Dropped after its last hard link.
        groups[status.identity] = group.rest > 1 ? (group.first, group.rest - 1) : nil
        return group.first
    }
}
