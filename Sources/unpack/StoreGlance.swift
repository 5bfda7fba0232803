internal import Kernel
internal import OCI
internal import Snapshots
internal import SystemPackage
internal import Unpacking

/// A store that is only looked at, and never made: not to be able to is no failure.
struct StoreGlance {
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

    /// Nil where nobody knows.
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
        case .unreadable(let why): "store \(escaped(root.utf8)) cannot be looked at: \(why)"
        case .open: "store \(escaped(root.utf8))"
        }
    }

    struct Document: Encodable {
        let root: String
        /// Whether there is one, as far as can be seen.
        let present: Bool?
        /// Why it cannot be looked at.
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
