internal import Kernel

/// The rules for labels of snapshots (containerd `pkg/labels`, `core/snapshots/storage`).
package enum SnapshotLabels {
    /// The chain that a snapshot holds. In a client's `Prepare` it names the chain that the snapshot is to become; of
    /// an existing snapshot it is derived from the verified chain and cannot be set.
    package static let chain = "containerd.io/snapshot.ref"

    /// Bytes of a label's key and value together (containerd `pkg/labels`).
    package static let maximumLength = 4096

    /// Bytes of all labels of a snapshot together. containerd has no limit, but takes no message of more than 16 MiB.
    package static let maximumTotal = 1 << 20

    /// The labels to store: those with a value.
    ///
    /// - Throws: `.invalidArgument` for a label that is too long or has no key, for one that the database would cut
    ///   off, and for the label of a chain.
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
                    .invalidArgument, "the label '\(chain)' cannot be set: it states what was verified")
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

    /// The labels of a snapshot after an update.
    ///
    /// - Parameters:
    ///   - fields: `labels` for all labels, `labels.<key>` for one, which is deleted if `new` lacks it; no field means
    ///     `labels`.
    /// - Throws: `.invalidArgument` for any other field, because only labels of a snapshot can be changed, and for
    ///   invalid labels in `new`.
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
