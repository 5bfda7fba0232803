package import Kernel
package import OCI
package import Streams

/// What a tree holds, written down so that every later change of it can be named.
///
/// An mtree(5) specification, as libarchive, mtree(8) and go-mtree write it. A line a path, each directory before
/// what is in it and names in the order of their bytes; `\ooo` for what a line cannot carry:
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
/// `sha256blocks` is a `ContentDigest`: SHA-256 over the content, in which holes cost nothing. Earlier versions wrote `cksum`
/// (cksum(1), a CRC-32) in its place, which content can be forged to; such a record is read and compared as it is.
///
/// All extended attributes of files are there (go-mtree's `xattr.`, in base64), overlay's own too; the kernel's are left out
/// (`AttributeName.isFiles`), and ignored in records of earlier versions.
/// `hardlink` is the program's own: this is another name of the file at that path, where all else is told. mtree(5)
/// defines none of the three: libarchive warns of them and reads the rest, the BSDs' mtree wants them taken out.
///
/// What differs between two copies of a tree is left out: inode numbers, link counts, sizes of directories, access and
/// change times. The last line tells a whole record from one that was cut off.
package enum TreeRecord {
    static let header = Array("#mtree\n".utf8)
    /// Bytes of a file that are read at once.
    static let readSize = 1 << 18
    static func footer(_ paths: Int) -> [UInt8] { Array("# \(paths) paths\n".utf8) }

    /// Records a tree that does not change meanwhile. Memory grows with a directory's names and with the files that
    /// have several, not with the tree.
    ///
    /// - Parameters:
    ///   - file: the record goes to its position.
    ///   - known: digests of regular files that the caller has already; the others are read.
    ///   - check: asked between paths and every 256 KiB of a file; what it throws ends the work.
    /// - Returns: the digest of the record, which is that of the tree: equal trees have equal ones; and what the tree
    ///   takes.
    /// - Throws: `SyscallFailure`, and what `check` throws.
    package static func write(
        tree: Directory, to file: borrowing File, known: (FileStatus) -> ContentDigest? = { _ in nil },
        check: () throws -> Void = {}
    ) throws -> (digest: Digest, usage: SnapshotUsage) {
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
    /// CRC-32 (cksum(1)): finds what disks do to bytes, and is no proof against people. Records of earlier versions.
    case checksum = "cksum"
    /// SHA-256 (`ContentDigest`).
    case digest = "sha256blocks"

    package static func < (left: Self, right: Self) -> Bool { left == .checksum && right == .digest }
}

/// Files with several names, by the first of them.
struct LinkGroups {
    private var groups = [FileStatus.Identity: (first: [UInt8], rest: UInt64)]()

    /// The escaped path where the file was met before; nil if it was not, and `path` is its first name then.
    mutating func firstName(of entry: TreeWalk.Entry, at path: [UInt8]) -> [UInt8]? {
        let status = entry.status
        // Whiteouts have nothing to tell, and the kernel makes them names of one device as it likes.
        guard !status.isDirectory, !status.isWhiteout, status.linkCount > 1 else { return nil }
        guard let group = groups[status.identity] else {
            groups[status.identity] = (path, status.linkCount - 1)
            return nil
        }
        // Forgotten with its last name.
        groups[status.identity] = group.rest > 1 ? (group.first, group.rest - 1) : nil
        return group.first
    }
}
