internal import Kernel
internal import OCI
internal import Snapshots
internal import SystemPackage
internal import Unpacking

/// Inspects a store without creating it. A store that is missing or cannot be read is a state, not an error.
struct StoreInspection {
    private enum State {
        case none
        case unreadable(String)
        case open(SnapshotStore)
    }

    private let state: State
    private let root: String

    init(_ options: StoreOptions) throws {
        root = try options.rootPath().string
        do {
            state = if let store = try options.openIfExisting() { .open(store) } else { .none }
        } catch let error as UnpackError {
            state = .unreadable(error.code == .permission ? "not permitted" : error.message)
        }
    }

    /// Whether the store has a verified snapshot of the chain; nil if the store cannot be read.
    func holds(_ chain: ChainID) -> Bool? {
        switch state {
        case .none: false
        case .unreadable: nil
        case .open(let store): try? store.verified(chain) != nil
        }
    }

    var text: String {
        switch state {
        case .none: "no store in \(escaped(root.utf8))"
        case .unreadable(let why): "store \(escaped(root.utf8)) cannot be read: \(why)"
        case .open: "store \(escaped(root.utf8))"
        }
    }

    struct Document: Encodable {
        let root: String
        /// Whether the store exists; nil if it cannot be read.
        let present: Bool?
        /// Why it cannot be read.
        let unreadable: String?
    }

    var document: Document {
        switch state {
        case .none: Document(root: root, present: false, unreadable: nil)
        case .unreadable(let why): Document(root: root, present: nil, unreadable: why)
        case .open: Document(root: root, present: true, unreadable: nil)
        }
    }
}
