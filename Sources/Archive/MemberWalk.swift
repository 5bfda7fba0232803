internal import Kernel

/// Finds where the members of a tar stand, for who wants to read some of them in place. The same eyes as for layers: what
/// two readers would understand differently is refused.
package struct MemberWalk {
    package struct Member: Sendable {
        package enum Content: Equatable, Sendable {
            /// Its bytes, by their place in the tar.
            case file(Range<Int64>)
            /// As it is written: relative to the member's folder.
            case symlink([UInt8])
            /// The path of another member.
            case hardLink(String)
            case directory
            /// Devices, FIFOs, and files that the archive has holes of.
            case other
        }

        /// Cleaned: `./a//b` is `a/b`.
        package let path: String
        package let content: Content
    }

    private var walk = HeaderWalk()

    package init() {}

    /// Takes the next bytes of the tar.
    ///
    /// - Returns: the members whose headers have ended in them. Names that are not UTF-8 are left out.
    package mutating func feed(_ bytes: RawSpan) throws(ArchiveFailure) -> [Member] {
        bytes.withUnsafeBytes { walk.feed($0) }
        _ = walk.takePlainHeaders()
        var members = [Member]()
        while let header = walk.next() {
            if let member = Member(header) { members.append(member) }
        }
        if let refusal = walk.refusal { throw refusal }
        return members
    }

    /// Where the next byte stands that it is fed.
    package var offset: Int64 { walk.offset }

    /// Passes over content that comes next; `offset` is behind it then.
    package mutating func skip() { walk.skip() }

    /// Whether the archive's own end has been seen.
    package var hasEnded: Bool { walk.hasEnded }

    /// Says that there are no more bytes.
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
