internal import Kernel

/// Locates the members of a tar, for reading some of them in place. It rejects the same ambiguous headers as for
/// layers.
package struct MemberWalk {
    package struct Member: Sendable {
        package enum Content: Equatable, Sendable {
            /// A plain file: the range of its bytes in the tar.
            case file(Range<Int64>)
            /// The target as written: relative to the member's directory.
            case symlink([UInt8])
            /// The path of another member.
            case hardLink(String)
            case directory
            /// A device, a FIFO, or a sparse file.
            case other
        }

        /// Cleaned path: `./a//b` is `a/b`.
        package let path: String
        package let content: Content
    }

    private var walk = HeaderWalk()

    package init() {}

    /// Parses the next bytes of the tar.
    ///
    /// - Returns: the members whose headers end in these bytes. Members with names that are not UTF-8 are left out.
    package mutating func feed(_ bytes: RawSpan) throws(ArchiveFailure) -> [Member] {
        bytes.withUnsafeBytes { walk.feed($0) }
        _ = walk.takeRewrittenHeaders()
        var members = [Member]()
        while let header = walk.next() {
            if let member = Member(header) { members.append(member) }
        }
        if let refusal = walk.refusal { throw refusal }
        return members
    }

    /// Offset of the next byte in the tar.
    package var offset: Int64 { walk.offset }

    /// Skips the content that comes next and advances `offset` past it.
    package mutating func skip() { walk.skip() }

    /// Whether the end-of-archive blocks were read.
    package var hasEnded: Bool { walk.hasEnded }

    /// Reports the end of the bytes.
    ///
    /// - Throws: `.truncated` inside a member.
    package func finish() throws(ArchiveFailure) { if let truncation = walk.truncation { throw truncation } }
}

extension MemberWalk.Member {
    fileprivate init?(_ header: HeaderWalk.Header) {
        guard let path = Self.text(header.entry.path) else { return nil }
        self.path = path
        switch header.entry.content {
        case .regular(let size) where header.isPlain:
            let start = header.entry.offset + Int64(RawHeader.blockSize)
            content = .file(start..<start + size)
        case .directory: content = .directory
        case .symlink(let target): content = .symlink(target)
        case .hardLink(let target): content = Self.text(target).map { .hardLink($0) } ?? .other
        case .regular, .fifo, .character, .block: content = .other
        }
    }

    private static func text(_ path: EntryPath) -> String? {
        let components = path.components.map { String(validating: $0.bytes, as: UTF8.self) }
        return components.contains(nil) ? nil : components.compactMap(\.self).joined(separator: "/")
    }
}
