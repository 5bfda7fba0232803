internal import Kernel
internal import Mounts

/// Snapshots as directories for overlay: `<id>/fs` has the layer, and `work` beside it is overlay's work directory
/// while the snapshot is active.
struct OverlayBackend: SnapshotBackend {
    static let name = "overlayfs"
    static let tree = UpperDirectories.tree
    static let content = SnapshotContent.layer

    let folder: BackendFolder

    private var directories: UpperDirectories { UpperDirectories(folder: folder) }

    func make(
        _ id: Int64, for purpose: SnapshotPurpose, on parent: Int64?, check: () throws -> Void
    ) throws {
        if purpose == .view, parent != nil { return }
        try directories.make(
            id, isView: purpose == .view, over: try parent.map { try directories.open($0) })
    }

    func open(_ id: Int64, isWritable: Bool) throws(SyscallFailure) -> SnapshotTree {
        SnapshotTree(try directories.open(id))
    }

    /// Overlay writes to the upper directory directly, so nothing is left to be finished.
    func finish(_ id: Int64, for purpose: SnapshotPurpose, check: () throws -> Void) {}

    func seal(_ id: Int64) throws(SyscallFailure) { try directories.removeWork(id) }

    func persist(_ id: Int64) throws(SyscallFailure) { try directories.persist(id) }

    func usage(
        of id: Int64, isCommitted: Bool, on parent: Int64?, tree: SnapshotUsage?
    ) throws(SyscallFailure) -> SnapshotUsage {
        if let tree { return tree }
        return try SnapshotUsage(of: try directories.open(id))
    }

    func mounts(_ stack: SnapshotStack) throws(StoreFailure) -> [Mount] {
        switch stack {
        case .writable(let id, let parents):
            if parents.isEmpty { return [.bind(source: directories.path(of: id), readOnly: false)] }
            return [overlay(parents, directories.writable(id))]
        case .readOnly(let ids):
            // Overlay refuses a single lower directory without an upper one.
            if ids.count == 1 { return [.bind(source: directories.path(of: ids[0]), readOnly: true)] }
            return [overlay(ids, nil)]
        case .empty(let id): return [.bind(source: directories.path(of: id), readOnly: true)]
        }
    }

    private func overlay(_ lowers: [Int64], _ writable: Mount.Writable?) -> Mount {
        .overlay(
            lowers: lowers.map(directories.path), writable: writable,
            userAttributes: OverlayMarks.own == .user, noIndex: UpperDirectories.hasIndexParameter)
    }

    func probe() throws(StoreFailure) -> WhiteoutForm { try directories.probe(for: Self.self) }
}
