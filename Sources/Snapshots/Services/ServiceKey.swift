internal import Kernel

/// A key that clients of a service use. In the store the service's own snapshot has the name `SERVICE:KEY`; a layer
/// that the service has adopted is named `KEY` itself.
struct ServiceKey: Sendable {
    let service: Owner
    let key: String

    /// - Throws: `.invalidArgument` for a key that the database would cut off.
    init(_ key: String, of service: Owner) throws(StoreFailure) {
        if key.utf8.contains(0) {
            throw StoreFailure(.invalidArgument, "the key '\(escaped(key.utf8))' has a NUL in it")
        }
        self.service = service
        self.key = key
    }

    /// The name of a snapshot that the service owns.
    var ownName: String { Self.ownName(key, of: service) }

    static func ownName(_ key: String, of service: Owner) -> String { "\(service.rawValue):\(key)" }
}

extension StoreTransaction {
    /// The finished snapshot that a service's clients see under a key: one that the service owns, or a layer that it
    /// has adopted.
    func snapshot(_ key: ServiceKey) throws -> SnapshotRow? {
        if let own = try snapshot(named: key.ownName), own.owner == key.service, own.run == nil { return own }
        guard let layer = try snapshot(named: key.key), try isAdopted(layer.id, by: key.service) else {
            return nil
        }
        return layer
    }
}
