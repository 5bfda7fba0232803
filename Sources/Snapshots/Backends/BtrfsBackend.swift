internal import Kernel
internal import Mounts
internal import SystemPackage

/// Snapshots as subvolumes of btrfs, each a snapshot of its parent made by the file system: nothing is copied.
/// `<id>/fs` is the subvolume; that of a committed snapshot is read-only.
struct BtrfsBackend: SnapshotBackend {
    static let name = "btrfs"
    static let tree = FileName(literal: "fs")
    static let content = SnapshotContent.mergedTree

    let folder: BackendFolder

    func make(_ id: Int64, for purpose: SnapshotPurpose, on parent: Int64?, check: () throws -> Void) throws {
        if purpose == .view, parent != nil { return }
        let snapshot = try folder.open(id)
        guard let parent else { return try snapshot.makeSubvolume(Self.tree) }
        try snapshot.snapshotSubvolume(
            try folder.open(parent).open(Self.tree), as: Self.tree, readOnly: false)
    }

    func open(_ id: Int64, isWritable: Bool) throws(SyscallFailure) -> SnapshotTree {
        SnapshotTree(try folder.open(id).open(Self.tree))
    }

    func finish(_ id: Int64, for purpose: SnapshotPurpose, check: () throws -> Void) throws {}

    func seal(_ id: Int64) throws(SyscallFailure) {
        try folder.open(id).open(Self.tree).setSubvolumeReadOnly(true)
    }

    func persist(_ id: Int64) throws(SyscallFailure) { try folder.directory.file.syncFileSystem() }

    /// Counts the files that differ from the parent's: a subvolume snapshot keeps the inode number and the change time
    /// of each file, and every change sets a new change time.
    func usage(
        of id: Int64, isCommitted: Bool, on parent: Int64?, tree: SnapshotUsage?
    ) throws(SyscallFailure) -> SnapshotUsage {
        let tree = try folder.open(id).open(Self.tree)
        guard let parent else { return try SnapshotUsage(of: tree) }
        return try SnapshotUsage(of: tree, notIn: try folder.open(parent).open(Self.tree))
    }

    func mounts(_ stack: SnapshotStack) throws(StoreFailure) -> [Mount] {
        guard let id = stack.top else { return [] }
        let (device, subvolume) = try attempting("cannot find out how the snapshot \(id) is mounted") {
            () throws(SyscallFailure) in
            (
                try MountTable.read().device(holding: folder.path, type: "btrfs"),
                try folder.open(id).open(Self.tree).subvolumeID()
            )
        }
        guard let device else {
            throw StoreFailure(
                .unavailable, "no mount of btrfs that this process sees holds \(escaped(folder.path))",
                hint: "mount the store's file system in this mount namespace")
        }
        return [.subvolume(device: device, id: subvolume, readOnly: stack.isReadOnly)]
    }

    func probe() throws(StoreFailure) -> WhiteoutForm {
        let hint = "put the store on btrfs with --root DIR, or use another --snapshotter"
        let isBtrfs = try attempting("cannot look at the store's file system") { () throws(SyscallFailure) in
            try folder.directory.isBtrfs
        }
        guard isBtrfs else {
            throw StoreFailure(
                .unavailable,
                "btrfs cannot keep snapshots under \(escaped(folder.path)): it is another file system",
                hint: hint)
        }
        let probe = FileName(literal: ".probe-\(UInt32.random(in: .min ... .max))")
        do {
            defer { try? folder.directory.removeSubvolume(probe) }
            try folder.directory.makeSubvolume(probe)
            return try folder.directory.open(probe).probeWhiteoutForm()
        } catch {
            throw StoreFailure(unable: error, Self.self, at: folder.path, hint: hint)
        }
    }
}
