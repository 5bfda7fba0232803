internal import Kernel

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
