internal import Kernel
internal import Mounts
internal import SystemPackage

/// Snapshots as whole trees in plain directories, each a copy of its parent: for file systems and kernels without any
/// other way. If the file system shares extents (xfs, btrfs), a copy shares them.
struct NativeBackend: SnapshotBackend {
    static let name = "native"
    static let tree = FileName(literal: "fs")
    static let content = SnapshotContent.mergedTree

    let folder: BackendFolder

    func make(_ id: Int64, for purpose: SnapshotPurpose, on parent: Int64?, check: () throws -> Void) throws {
        if purpose == .view, parent != nil { return }
        let tree = try folder.makeTree(Self.tree, in: try folder.open(id))
        guard let parent else { return }
        try folder.open(parent).open(Self.tree).copyContents(to: tree, check: check)
    }

    func open(_ id: Int64, isWritable: Bool) throws(SyscallFailure) -> SnapshotTree {
        SnapshotTree(try folder.open(id).open(Self.tree))
    }

    func finish(_ id: Int64, for purpose: SnapshotPurpose, check: () throws -> Void) throws {}

    func seal(_ id: Int64) throws(SyscallFailure) {}

    func persist(_ id: Int64) throws(SyscallFailure) { try folder.directory.file.syncFileSystem() }

    /// The space of the whole copy: no file system reports which extents it shares with the parent.
    func usage(
        of id: Int64, isCommitted: Bool, on parent: Int64?, tree: SnapshotUsage?
    ) throws(SyscallFailure) -> SnapshotUsage {
        if let tree { return tree }
        return try SnapshotUsage(of: try folder.open(id).open(Self.tree))
    }

    func mounts(_ stack: SnapshotStack) -> [Mount] {
        guard let id = stack.top else { return [] }
        let tree = folder.path(of: id).appending(Self.tree.description)
        return [.bind(source: tree, readOnly: stack.isReadOnly)]
    }

    func probe() throws(StoreFailure) -> WhiteoutForm {
        do {
            return try folder.tryLayers().form
        } catch {
            throw StoreFailure(
                unable: error, Self.self, at: folder.path,
                hint: """
                    put the store on ext4, xfs or btrfs with --root DIR; on an overlay file system, as inside a container, \
                    native works from Linux 6.7 on, and --output DIR needs no store
                    """)
        }
    }
}
