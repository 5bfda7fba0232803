internal import Kernel
internal import Streams

/// A sink's storage that caches the directory of the layers below.
protocol LowerCaching {
    var lower: LowerCache { get set }
}

/// The directory of the layers below at the path of a node.
struct LowerCache {
    var directory = Cached<MergedDirectory>()
    /// Whether the layers below are known to have no directory there.
    fileprivate(set) var isMissing = false
}

/// The layers below the one that is applied; they may not be complete yet.
struct LowerLayers<Storage: LowerCaching> {
    typealias Node = DirectoryNode<Storage>

    /// Nil until they are known.
    private(set) var view: LowerView?
    private let future: Promise<LowerOutcome>
    private let account: Budget.Account
    private let cancellation: Cancellation
    private var recent = RecentNodes(\Storage.lower.directory)
    /// Directories at depths that are multiples of `OpenDirectories.interval`.
    private var checkpoints = RecentNodes(\Storage.lower.directory)

    /// Maximum number of descriptors for directories of each kind.
    private static var capacity: Int { 64 }

    init(_ future: Promise<LowerOutcome>, _ account: Budget.Account, _ cancellation: Cancellation) {
        self.future = future
        self.account = account
        self.cancellation = cancellation
        if case .complete(let view) = future.value { self.view = view }
    }

    /// Waits until the layers below are known.
    ///
    /// - Parameter root: the root of the layer as applied so far.
    /// - Throws: `StaleAssumption`; `Cancelled` if a layer below failed.
    mutating func wait(for root: Node) throws -> LowerView {
        if let view { return view }
        let view = try future.wait().view()
        self.view = view
        guard try assumptionsHold(for: root, over: view) else { throw StaleAssumption() }
        return view
    }

    /// Whether no implicit directory of the layer has the path of a symlink of the layers below, which should have been
    /// followed.
    private func assumptionsHold(for root: Node, over view: LowerView) throws -> Bool {
        var walk = NodeWalk(root, over: view.root)
        while let step = try walk.next() {
            try cancellation.check()
            try account.step(1)
            guard case .enter(let node, let below) = step else { continue }
            guard let below else {
                walk.skip()
                continue
            }
            for (name, child) in node.children where child.metadata == nil && !node.hides(name) {
                if try below.lookUp(name).isSymlink { return false }
            }
        }
        return true
    }

    /// Returns what the layers below show under a name; `.missing` until they are known. Symlinks are not followed.
    mutating func lookUp(_ name: FileName, in node: Node) throws -> LowerFile {
        guard let view, !view.isEmpty, let directory = try directory(at: node, in: view) else {
            return .missing
        }
        return try directory.lookUp(name)
    }

    private mutating func directory(at node: Node, in view: LowerView) throws -> MergedDirectory? {
        if node.name == nil { return view.root }
        if let directory = node.storage.lower.directory.use() { return directory }
        var unknown = [Node]()
        var next = node
        while let parent = next.parent, next.storage.lower.directory.value == nil {
            if next.storage.lower.isMissing {
                for node in unknown { node.storage.lower.isMissing = true }
                return nil
            }
            unknown.append(next)
            next = parent
        }
        var lower = next.storage.lower.directory.use() ?? view.root
        while let next = unknown.popLast() {
            guard let name = next.name else { break }
            guard let found = try lower.directory(name) else {
                next.storage.lower.isMissing = true
                for node in unknown { node.storage.lower.isMissing = true }
                return nil
            }
            lower = found
            try account.step(next.stepsToOpen * Int64(found.layers.count))
            let capacity = max(4, Self.capacity / view.root.layers.count)
            if unknown.isEmpty {
                recent.add(found, to: next, capacity: capacity)
            } else if next.depth.isMultiple(of: OpenDirectories.interval) {
                checkpoints.add(found, to: next, capacity: capacity)
            }
        }
        return lower
    }

    mutating func close() {
        recent.clear()
        checkpoints.clear()
    }
}
