internal import Kernel
package import Mounts
internal import OCI

/// What one service sees of a store: containerd's contract once more, over the snapshots that its clients made, under
/// their keys, and those of images that they have taken over.
///
/// In the store a service's snapshot is named `SERVICE:KEY`: each service has its keys to itself, and the store's own
/// are nobody's. A layer that the unpacker has verified is seen under its own name, the chain ID, once it is *claimed*:
/// the image and the service need it then, each by itself, and it goes when neither does.
package struct ServiceSnapshots: Sendable {
    private let store: SnapshotStore
    package let owner: Owner
    private let run: Run

    /// - Parameters:
    ///   - service: what its snapshots are named after, the same after every restart.
    ///   - run: what is half made belongs to it.
    /// - Throws: `.invalidArgument` for a name that would not tell its snapshots from others.
    package init(_ service: String, of store: SnapshotStore, in run: Run) throws(StoreFailure) {
        let isWord = !service.isEmpty && service.utf8.allSatisfy { Self.letters.contains($0) }
        guard isWord, ![Owner.images, .user].contains(Owner(rawValue: service)),
            Digest.Algorithm(rawValue: service) == nil
        else {
            throw StoreFailure(
                .invalidArgument, "'\(escaped(service.utf8))' is no name for a service's snapshots",
                hint: "use letters, digits and _ . -, and none of 'images', 'user', 'sha256', 'sha512'")
        }
        self.store = store
        self.run = run
        owner = Owner(rawValue: service)
    }

    private static let letters = Set(
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-".utf8)

    // MARK: Names

    /// The store's name of what a client calls `key`.
    ///
    /// - Throws: `.invalidArgument` for a key that the database would not keep whole.
    private func name(of key: String) throws(StoreFailure) -> String {
        if key.utf8.contains(0) {
            throw StoreFailure(.invalidArgument, "the key '\(escaped(key.utf8))' has a NUL in it")
        }
        return "\(owner.rawValue):\(key)"
    }

    /// What clients call a snapshot.
    private func key(of name: String) -> String {
        let prefix = "\(owner.rawValue):".utf8
        // By bytes: a combining character behind the colon would hide it.
        guard name.utf8.starts(with: prefix) else { return name }
        return String(name.utf8.dropFirst(prefix.count)) ?? name
    }

    private func seen(_ info: SnapshotInfo) -> SnapshotInfo {
        SnapshotInfo(
            id: info.id, name: key(of: info.name), kind: info.kind, parent: info.parent.map(key),
            owner: info.owner, verifiedChain: info.verifiedChain, labels: info.labels,
            created: info.created, updated: info.updated)
    }

    /// - Returns: nil if there is none that this service sees.
    private func find(_ key: String) throws(StoreFailure) -> SnapshotInfo? {
        let own = try name(of: key)
        if let info = try store.find(own, of: owner) { return info }
        return try store.findClaimed(key, by: owner)
    }

    private func get(_ key: String) throws(StoreFailure) -> SnapshotInfo {
        if let info = try find(key) { return info }
        throw StoreFailure(.notFound, "there is no snapshot '\(key)'")
    }

    /// Bytes: many times what containerd uses.
    private static let longestKey = 4096

    /// The store's name of a snapshot that is about to be made.
    private func newName(of key: String) throws(StoreFailure) -> String {
        if key.isEmpty { throw StoreFailure(.invalidArgument, "a snapshot without a key") }
        if key.utf8.count > Self.longestKey {
            throw StoreFailure(
                .invalidArgument, "a key has \(key.utf8.count) bytes, more than \(Self.longestKey)")
        }
        return try name(of: key)
    }

    /// The labels that a client may set: without that of a chain, which says what the unpacker has verified. containerd keeps
    /// what its clients have set by itself, and gives it along with every update.
    private func settable(_ labels: [String: String]) -> [String: String] {
        labels.filter { $0.key != SnapshotLabels.chain }
    }

    private func parent(_ key: String?) throws(StoreFailure) -> SnapshotInfo? {
        guard let key else { return nil }
        if let info = try find(key) { return info }
        throw StoreFailure(.notFound, "there is no parent '\(key)'")
    }

    // MARK: The contract

    /// - Throws: `.notFound`.
    package func stat(_ key: String) throws(StoreFailure) -> SnapshotInfo { seen(try get(key)) }

    /// As `SnapshotStore.update`. An adopted layer is the image's: an update that would change its labels is refused, and one
    /// that would not is none.
    ///
    /// - Throws: `.failedPrecondition` for an adopted layer.
    package func update(
        _ key: String, labels: [String: String], fields: [String]
    ) throws(StoreFailure) -> SnapshotInfo {
        let info = try get(key)
        let settableFields = fields.filter { $0 != "labels.\(SnapshotLabels.chain)" }
        if settableFields.isEmpty, !fields.isEmpty { return seen(info) }
        guard info.owner != owner else {
            return seen(try store.update(info.name, labels: settable(labels), fields: settableFields))
        }
        let current = settable(info.labels)
        guard try SnapshotLabels.updating(current, to: settable(labels), fields: settableFields) == current
        else {
            throw StoreFailure(
                .failedPrecondition, "the labels of '\(key)' cannot be changed: it is a layer of an image")
        }
        return seen(info)
    }

    /// As `SnapshotStore.usage`.
    package func usage(of key: String) throws(StoreFailure) -> SnapshotUsage {
        try store.usage(of: try get(key).name)
    }

    /// As `SnapshotStore.mounts`.
    package func mounts(of key: String) throws(StoreFailure) -> [Mount] {
        try store.mounts(of: try get(key).name)
    }

    /// As `SnapshotStore.prepare`. Where the label `containerd.io/snapshot.ref` names a chain that the unpacker has
    /// verified, on the same parent, that is claimed.
    ///
    /// - Throws: `.alreadyExists` for a key that is taken, and when the chain was claimed: `list` with a filter on that
    ///   label then finds it (containerd `core/metadata/snapshot.go`, "target snapshot").
    package func prepare(
        _ key: String, parent: String?, labels: [String: String], isWanted: () -> Bool = { true }
    ) throws(StoreFailure) -> [Mount] {
        let name = try newName(of: key)
        let below = try self.parent(parent)
        if let label = labels[SnapshotLabels.chain], let digest = try? Digest(parsing: label),
            let claimed = try store.claim(ChainID(digest), on: below?.id, for: owner)
        {
            throw StoreFailure(.alreadyExists, "the layer is there already: '\(claimed.name)'")
        }
        return try store.prepare(
            name, parent: below?.name, labels: settable(labels), owner: owner, in: run, isWanted: isWanted)
    }

    /// As `SnapshotStore.view`.
    package func view(
        _ key: String, parent: String?, labels: [String: String], isWanted: () -> Bool = { true }
    ) throws(StoreFailure) -> [Mount] {
        try store.view(
            try newName(of: key), parent: try self.parent(parent)?.name, labels: settable(labels),
            owner: owner, in: run, isWanted: isWanted)
    }

    /// As `SnapshotStore.commit`, and fast: what it takes is not measured yet, and its files may not be on the disk. The
    /// caller sees to that with `settle`.
    package func commit(
        _ key: String, as name: String, onto parent: String?, labels: [String: String]
    ) throws(StoreFailure) {
        try store.commit(
            try get(key).name, as: try newName(of: name), onto: try self.parent(parent)?.name,
            labels: settable(labels), isSynced: false, isMeasured: false)
    }

    /// As `SnapshotStore.settle`.
    package func settle(_ key: String, isSynced: Bool = true) throws(StoreFailure) {
        if let info = try find(key) { try store.settle(info.name, isSynced: isSynced) }
    }

    /// What was committed and is not known to be on the disk.
    ///
    /// - Returns: `.new` of this boot, which `settle` is for; `.suspect` of others, which may lack files.
    package func unsettled() throws(StoreFailure) -> (new: [String], suspect: [String]) {
        let names = try store.unsettled(of: owner)
        return (names.new.map(key), names.suspect.map(key))
    }

    /// As `SnapshotStore.remove`. What was claimed is only given back, and goes if no image needs it any more.
    package func remove(_ key: String, _ deletion: Deletion) throws(StoreFailure) {
        let info = try get(key)
        if info.owner == owner {
            try store.remove(info.name, deletion)
        } else {
            try store.giveBack(info.name, by: owner, deletion)
        }
    }

    /// What this service sees, as far as one of the filters lets it pass, oldest first (Walk).
    ///
    /// - Throws: `.resourceExhausted` for filters that take too much work.
    package func list(_ filters: [SnapshotFilter]) throws(StoreFailure) -> [SnapshotInfo] {
        var budget = FilterBudget()
        var found = [SnapshotInfo]()
        for info in try store.visible(to: owner).map(seen)
        where try SnapshotFilter.any(filters, info, &budget) {
            found.append(info)
        }
        return found
    }

    /// As `SnapshotStore.cleanup`.
    package func cleanup() throws(StoreFailure) { try store.cleanup() }

    /// Deletes what removals have begun to.
    package func sweep() throws(StoreFailure) { try store.sweep(waits: false) }
}
