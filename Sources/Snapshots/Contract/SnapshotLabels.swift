internal import Kernel

/// The rules for labels of snapshots (containerd `pkg/labels`, `core/snapshots/storage`).
package enum SnapshotLabels {
    /// Which chain a snapshot holds. A client that prepares one asks by it for the chain that the snapshot is to become; of
    /// what exists it is derived from what was verified, and cannot be set.
    package static let chain = "containerd.io/snapshot.ref"

    /// Bytes of a label's key and value together.
    package static let maximumLength = 4096

    /// Bytes of all labels of a snapshot together. containerd has no limit, but takes no message of more than 16 MiB.
    package static let maximumTotal = 1 << 20

    /// The labels that are stored of those given: one without a value is none.
    ///
    /// - Throws: `.invalidArgument` for a label that is too long or has no key, for one that the database would not keep
    ///   whole, and for that of a chain.
    package static func stored(of labels: [String: String]) throws(StoreFailure) -> [String: String] {
        let total = labels.reduce(0) { $0 + $1.key.utf8.count + $1.value.utf8.count }
        if total > maximumTotal {
            throw StoreFailure(
                .invalidArgument, "the labels have \(total) bytes together, more than \(maximumTotal)")
        }
        for (key, value) in labels {
            let length = key.utf8.count + value.utf8.count
            if key.isEmpty { throw StoreFailure(.invalidArgument, "a label has no key") }
            if key.utf8.contains(0) || value.utf8.contains(0) {
                throw StoreFailure(
                    .invalidArgument, "the label '\(escaped(key.utf8.prefix(100)))' has a NUL in it")
            }
            if key == chain {
                throw StoreFailure(
                    .invalidArgument, "the label '\(chain)' cannot be set: it says what was verified")
            }
            if length > maximumLength {
                throw StoreFailure(
                    .invalidArgument,
                    "the label '\(escaped(key.utf8.prefix(100)))' has \(length) bytes with its value, "
                        + "more than \(maximumLength)")
            }
        }
        return labels.filter { !$0.value.isEmpty }
    }

    /// What an update makes of the labels that a snapshot has.
    ///
    /// - Parameters:
    ///   - fields: what to update: `labels` for all of them, `labels.<key>` for one, which goes if `new` does not
    ///     have it; none at all are `labels`.
    /// - Throws: `.invalidArgument` for any other field, because nothing else of a snapshot can be changed, and
    ///   for a label of `new` that breaks the rules.
    package static func updating(
        _ current: [String: String], to new: [String: String], fields: [String]
    ) throws(StoreFailure) -> [String: String] {
        let new = try stored(of: new)
        if fields.isEmpty { return new }
        let prefix = "labels."
        var labels = current
        for field in fields {
            if field == "labels" {
                labels = new
            } else if field.hasPrefix(prefix) {
                let key = String(field.dropFirst(prefix.count))
                labels[key] = new[key]
            } else {
                throw StoreFailure(
                    .invalidArgument,
                    "the field '\(escaped(field.utf8))' of a snapshot cannot be updated, only its labels can")
            }
        }
        return labels
    }
}
