package import OCI

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
