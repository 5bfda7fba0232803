internal import Kernel

/// The rules of the contract that a transaction checks before it changes anything.
extension StoreTransaction {
    /// - Throws: `.notFound`.
    func existing(_ name: String) throws -> SnapshotRow {
        guard let row = try snapshot(named: name) else {
            throw StoreFailure(
                .notFound, "there is no snapshot '\(name)'", hint: "list them with 'unpack snapshot ls'")
        }
        return row
    }

    /// - Parameter refusal: the kind of failure for a snapshot that is not committed.
    /// - Throws: `.notFound`, `refusal`.
    func parent(_ reference: SnapshotReference, orElse refusal: StoreFailure.Kind) throws -> SnapshotRow {
        guard let row = try snapshot(reference) else {
            throw StoreFailure(
                .notFound, "there is no parent '\(reference)'",
                hint: "list what can be one with 'unpack snapshot ls --filter kind==committed'")
        }
        guard row.kind == .committed else {
            throw StoreFailure(
                refusal, "the parent '\(reference)' is not committed",
                hint: "commit it with 'unpack snapshot commit'")
        }
        return row
    }

    private func snapshot(_ reference: SnapshotReference) throws -> SnapshotRow? {
        switch reference {
        case .name(let name): try snapshot(named: name)
        case .key(let key): try snapshot(key)
        }
    }

    /// - Parameter noun: what the caller calls the name.
    /// - Throws: `.alreadyExists`.
    func refuseTaken(_ name: String, noun: String) throws {
        if try hidesAdopted(name) {
            throw StoreFailure(
                .alreadyExists, "there is a snapshot '\(name)' already: a verified layer that was adopted")
        }
        if try snapshot(named: name) != nil {
            throw StoreFailure(
                .alreadyExists, "there is a snapshot '\(name)' already",
                hint: "choose another \(noun), or remove it with 'unpack snapshot rm'")
        }
    }

    /// - Throws: `.failedPrecondition`.
    func refuseNeeded(_ row: SnapshotRow) throws {
        guard let dependent = try dependent(of: row.id) else { return }
        throw StoreFailure(
            .failedPrecondition, "cannot remove '\(row.name)': \(dependent.reason)", hint: dependent.hint)
    }
}

/// How a caller refers to a snapshot.
enum SnapshotReference: Sendable, CustomStringConvertible {
    /// By its name in the store.
    case name(String)
    /// By the key of a service's client.
    case key(ServiceKey)

    var description: String {
        switch self {
        case .name(let name): name
        case .key(let key): key.key
        }
    }
}

extension StoreTransaction.Dependent {
    fileprivate var reason: String {
        switch self {
        case .child: "other snapshots are based on it"
        case .image: "an image needs it"
        case .run: "a running unpack needs it"
        case .service: "a service has adopted it"
        }
    }

    fileprivate var hint: String {
        switch self {
        case .child: "remove those first: 'unpack snapshot tree' shows them"
        case .image: "remove the image with 'unpack rm'"
        case .run: "wait for that"
        case .service: "remove what uses it there, e.g. with 'ctr image rm'"
        }
    }
}

extension SnapshotRow {
    /// Refuses a snapshot that a run has not finished: other callers neither mount nor commit nor remove it.
    ///
    /// - Throws: `.unavailable`.
    func refuseUnfinished() throws(StoreFailure) {
        guard run != nil else { return }
        throw StoreFailure(
            .unavailable, "the snapshot '\(name)' is being made by another process",
            hint: "wait for it; if that process has ended, 'unpack prune' removes what it has left")
    }

    /// - Throws: `.failedPrecondition`.
    func refuseUncommitted() throws(StoreFailure) {
        guard kind != .committed else { return }
        throw StoreFailure(.failedPrecondition, "the snapshot '\(name)' is not committed")
    }
}
