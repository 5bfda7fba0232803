internal import Kernel
internal import Mounts
internal import SystemPackage

/// Snapshots as directories for overlay: `<id>/fs` has the layer, and `work` beside it is overlay's work directory
/// while the snapshot is active.
struct OverlayBackend: SnapshotBackend {
    static let name = "overlayfs"
    static let tree = FileName(literal: "fs")
    static let content = SnapshotContent.layer
    private static let work = FileName(literal: "work")

    let folder: BackendFolder

    /// The root of the tree gets the metadata of its parent's root: overlay shows the topmost root, so a new one would
    /// change the metadata of `/`.
    func make(_ id: Int64, isView: Bool, on parent: Int64?, check: () throws -> Void) throws {
        if isView, parent != nil { return }
        let snapshot = try folder.open(id)
        let tree = try folder.makeTree(Self.tree, in: snapshot)
        if isView { return }
        try snapshot.makeDirectory(Self.work, mode: 0o711)
        if let parent {
            let below = try folder.open(parent).open(Self.tree)
            try tree.takeMetadata(of: below, try below.file.status())
        }
    }

    func open(_ id: Int64, isWritable: Bool) throws(SyscallFailure) -> SnapshotTree {
        SnapshotTree(try folder.open(id).open(Self.tree))
    }

    /// Overlay writes to the upper directory directly, so nothing is left to be finished.
    func finish(_ id: Int64) throws(StoreFailure) {}

    func seal(_ id: Int64) throws(SyscallFailure) { try folder.open(id).removeTree(Self.work) }

    /// Syncs the directories and the root's metadata: there is no content yet.
    func persist(_ id: Int64) throws(SyscallFailure) {
        let snapshot = try folder.open(id)
        for name in try snapshot.names() { try snapshot.open(name).file.sync() }
        try snapshot.file.sync()
        try folder.directory.file.sync()
    }

    func usage(of id: Int64, on parent: Int64?, tree: SnapshotUsage?) throws(SyscallFailure) -> SnapshotUsage
    {
        if let tree { return tree }
        return try SnapshotUsage(of: try folder.open(id).open(Self.tree))
    }

    func mounts(_ stack: SnapshotStack) -> [Mount] {
        switch stack {
        case .writable(let id, let parents):
            let upper = treePath(of: id)
            if parents.isEmpty { return [.bind(source: upper, readOnly: false)] }
            let work = folder.path(of: id).appending(Self.work.description)
            return [overlay(parents.map(treePath), .init(upper: upper, work: work))]
        case .readOnly(let ids):
            let layers = ids.map(treePath)
            // Overlay refuses a single lower directory without an upper one.
            if layers.count == 1 { return [.bind(source: layers[0], readOnly: true)] }
            return [overlay(layers, nil)]
        }
    }

    private func treePath(of id: Int64) -> FilePath {
        folder.path(of: id).appending(Self.tree.description)
    }

    private func overlay(_ lowers: [FilePath], _ writable: Mount.Writable?) -> Mount {
        .overlay(
            lowers: lowers, writable: writable, userAttributes: OverlayMarks.own == .user,
            noIndex: Self.hasIndexParameter)
    }

    /// If the parameter exists, the index may be on by default; it would bind an upper directory to its lower ones by
    /// file handle.
    private static let hasIndexParameter =
        (try? File.open("/sys/module/overlay/parameters/index", .read)) != nil

    /// File systems that can hold layers. tmpfs has no `user.*` attributes before Linux 6.6.
    private static let fileSystems =
        OverlayMarks.own == .user && KernelRelease.current < KernelRelease(major: 6, minor: 6)
        ? "ext4, xfs or btrfs" : "ext4, xfs, btrfs or tmpfs"

    private static let hint = """
        put the store on \(fileSystems) with --root DIR; on an overlay file system, as inside a container, whiteouts can be \
        made from Linux 6.7 on
        """

    func probe() throws(StoreFailure) -> WhiteoutForm {
        let form: WhiteoutForm
        let recordsTypes: Bool
        do {
            (form, recordsTypes) = try folder.tryLayers()
        } catch {
            throw StoreFailure(unable: error, Self.self, at: folder.path, hint: Self.hint)
        }
        // Earlier kernels do not read them (kernel: overlayfs.rst, "Nesting overlayfs mounts").
        if form == .attribute, KernelRelease.current < KernelRelease(major: 6, minor: 7) {
            throw StoreFailure(
                .unavailable,
                "overlayfs cannot keep snapshots under \(escaped(folder.path)): whiteouts cannot be devices there, and this "
                    + "kernel does not read whiteouts in extended attributes", hint: Self.hint)
        }
        guard recordsTypes else {
            throw StoreFailure(
                .unavailable,
                "overlayfs cannot keep snapshots under \(escaped(folder.path)): the file system does not record the types of "
                    + "directory entries (d_type), by which overlay finds whiteouts",
                hint:
                    "use --snapshotter native or loop, or put the store on a file system that does with --root DIR: xfs with ftype=1, ext4 with filetype"
            )
        }
        return form
    }
}
