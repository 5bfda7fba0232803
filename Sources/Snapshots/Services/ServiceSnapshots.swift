internal import Kernel
package import Mounts
internal import OCI
internal import RegularExpressions

/// One service's view of a store: containerd's contract over the snapshots that the service's clients have made, under
/// their keys, and over the layers of images that the service has adopted.
///
/// In the store a service's snapshot is named `SERVICE:KEY`, so that services do not see each other's keys, nor those
/// of the store's users. A layer that the unpacker has verified is visible under its own name, the chain ID, once the
/// service has *adopted* it: then the image and the service both need it, and it is removed when neither does.
package struct ServiceSnapshots: Sendable {
    private let store: SnapshotStore
    package let owner: Owner
    private let run: Run

    /// - Parameters:
    ///   - service: the prefix of its snapshots' names, the same after every restart.
    ///   - run: owns unfinished snapshots.
    /// - Throws: `.invalidArgument` for a name that other snapshots' names could begin with.
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

    /// The key under which clients see a snapshot.
    private func key(of name: String) -> String {
        let prefix = ServiceKey.ownName("", of: owner).utf8
        // By bytes: as a Character the colon would include a combining character after it.
        guard name.utf8.starts(with: prefix) else { return name }
        return String(name.utf8.dropFirst(prefix.count)) ?? name
    }

    /// A snapshot as clients see it.
    private func seen(_ info: SnapshotInfo) -> SnapshotInfo {
        SnapshotInfo(
            id: info.id, name: key(of: info.name), kind: info.kind, parent: info.parent.map(key),
            parentID: info.parentID, owner: info.owner, verifiedChain: info.verifiedChain,
            verityDigest: info.verityDigest, labels: info.labels, created: info.created, updated: info.updated
        )
    }

    /// - Returns: nil if this service sees no such snapshot.
    private func find(_ key: String) throws(StoreFailure) -> SnapshotInfo? {
        try store.find(try ServiceKey(key, of: owner))
    }

    private func get(_ key: String) throws(StoreFailure) -> SnapshotInfo {
        if let info = try find(key) { return info }
        throw StoreFailure(.notFound, "there is no snapshot '\(key)'")
    }

    /// Bytes; containerd's keys are far shorter.
    private static let longestKey = 4096

    /// The name in the store of a snapshot that is to be made.
    private func newName(of key: String) throws(StoreFailure) -> String {
        if key.isEmpty { throw StoreFailure(.invalidArgument, "a snapshot without a key") }
        if key.utf8.count > Self.longestKey {
            throw StoreFailure(
                .invalidArgument, "a key has \(key.utf8.count) bytes, more than \(Self.longestKey)")
        }
        return try ServiceKey(key, of: owner).ownName
    }

    /// The labels that a client may set: all but the label of a chain, which states what the unpacker has verified.
    /// containerd stores its clients' value of that label itself, and sends it with every update.
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

    /// As `SnapshotStore.update`. The labels of an adopted layer belong to the image: an update that would change them
    /// is refused, any other has no effect.
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

    /// As `SnapshotStore.mounts`, for a client that calls mount(2) once for each of them.
    package func mounts(of key: String) throws(StoreFailure) -> [Mount] {
        try store.mountsForClient(of: try get(key).name)
    }

    /// As `SnapshotStore.prepare`. If the label `containerd.io/snapshot.ref` names a chain that the unpacker has
    /// verified, on the same parent, the service adopts that snapshot instead.
    ///
    /// - Throws: `.alreadyExists` for a key that is taken, and after an adoption: `list` with a filter on that label
    ///   then finds the snapshot (containerd `core/metadata/snapshot.go`, "target snapshot").
    package func prepare(
        _ key: String, parent: String?, labels: [String: String], shouldContinue: () -> Bool = { true }
    ) throws(StoreFailure) -> [Mount] {
        var new = try newSnapshot(.active, key, parent: parent, labels: labels)
        if let label = labels[SnapshotLabels.chain], let digest = try? Digest(parsing: label) {
            new.adoptableChain = ChainID(digest)
        }
        return try store.publish(new, in: run, shouldContinue: shouldContinue)
    }

    private func newSnapshot(
        _ kind: SnapshotInfo.Kind, _ key: String, parent: String?, labels: [String: String]
    ) throws(StoreFailure) -> NewSnapshot {
        var new = NewSnapshot(kind: kind, key: try newName(of: key), labels: settable(labels), owner: owner)
        new.isForClient = true
        if let parent { new.parent = .key(try ServiceKey(parent, of: owner)) }
        return new
    }

    /// As `SnapshotStore.view`.
    package func view(
        _ key: String, parent: String?, labels: [String: String], shouldContinue: () -> Bool = { true }
    ) throws(StoreFailure) -> [Mount] {
        let new = try newSnapshot(.view, key, parent: parent, labels: labels)
        return try store.publish(new, in: run, shouldContinue: shouldContinue)
    }

    /// As `SnapshotStore.commit`, without the slow parts: the snapshot is not measured, and its files may not be on
    /// the disk yet. The caller then calls `completeCommit`.
    package func commit(
        _ key: String, as name: String, onto parent: String?, labels: [String: String]
    ) throws(StoreFailure) {
        try store.commit(
            try get(key).name, as: try newName(of: name), onto: try self.parent(parent)?.name,
            labels: settable(labels), isSynced: false, isMeasured: false)
    }

    /// As `SnapshotStore.completeCommit`.
    package func completeCommit(of key: String, isSynced: Bool = true) throws(StoreFailure) {
        if let info = try find(key) { try store.completeCommit(of: info.name, isSynced: isSynced) }
    }

    /// The committed snapshots that are not known to be on the disk.
    ///
    /// - Returns: `new`: those of this boot, for `completeCommit`; `suspect`: those of other boots, which may lack
    ///   files.
    package func pendingSnapshots() throws(StoreFailure) -> (new: [String], suspect: [String]) {
        let names = try store.pendingSnapshots(of: owner)
        return (names.new.map(key), names.suspect.map(key))
    }

    /// As `SnapshotStore.remove`. For an adopted layer only the adoption ends; the layer is removed if no image needs
    /// it.
    package func remove(_ key: String, _ deletion: Deletion) throws(StoreFailure) {
        let info = try get(key)
        if info.owner == owner {
            try store.remove(info.name, deletion)
        } else {
            try store.endAdoption(of: info.name, by: owner, deletion)
        }
    }

    /// The snapshots that this service sees and one of the filters matches, oldest first (Walk).
    ///
    /// - Throws: `.resourceExhausted` for filters that take too much work.
    package func list(_ filters: [SnapshotFilter]) throws(StoreFailure) -> [SnapshotInfo] {
        var budget = StepBudget(steps: SnapshotFilter.maximumSteps)
        var found = [SnapshotInfo]()
        for info in try store.visible(to: owner).map(seen)
        where try SnapshotFilter.any(filters, info, &budget) {
            found.append(info)
        }
        return found
    }

    /// As `SnapshotStore.cleanup`.
    package func cleanup() throws(StoreFailure) { try store.cleanup() }

    /// As `SnapshotStore.emptyTrash`.
    package func emptyTrash() throws(StoreFailure) { try store.emptyTrash(waits: false) }
}
