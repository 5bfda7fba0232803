internal import ErofsFiles
internal import Kernel
internal import Mounts
internal import OCI
internal import SystemPackage

/// Snapshots as EROFS images: `<id>/layer.erofs` is the layer of a committed snapshot, with `<id>/fs` as its mount point.
/// An active one has the directories of overlay, `fs` and `work`, or only the image if the unpacker writes it.
struct ErofsBackend: SnapshotBackend {
    static let name = Mount.erofs
    static let tree = UpperDirectories.tree
    static let committedTree = FileName(literal: "layer.erofs")
    static let content = SnapshotContent.image
    /// The image while it is written.
    private static let unfinished = FileName(literal: "layer.erofs.new")

    let folder: BackendFolder

    private var directories: UpperDirectories { UpperDirectories(folder: folder) }

    func make(
        _ id: Int64, for purpose: SnapshotPurpose, on parent: Int64?, check: () throws -> Void
    ) throws {
        switch purpose {
        case .layer: _ = try folder.makeTree(Self.tree, in: try folder.open(id))
        case .view:
            if parent == nil { try directories.make(id, isView: true, over: nil) }
        case .changes:
            let below = try parent.map { try DetachedMount.erofs(image(of: $0)) }
            try directories.make(id, isView: false, over: below?.root)
        }
    }

    private func image(of id: Int64) -> FilePath {
        folder.path(of: id).appending(Self.committedTree.description)
    }

    func open(_ id: Int64, isWritable: Bool) throws(SyscallFailure) -> SnapshotTree {
        if isWritable { return SnapshotTree(try folder.open(id)) }
        return SnapshotTree(try DetachedMount.erofs(image(of: id)))
    }

    /// Writes the image of a snapshot that was changed through its mounts, or takes that of a layer that was applied to
    /// it.
    func finish(_ id: Int64, for purpose: SnapshotPurpose, check: () throws -> Void) throws {
        let snapshot = try folder.open(id)
        if purpose == .changes {
            try refuseMounted(id)
            if try snapshot.status(of: AppliedImage.name) != nil {
                try takeAppliedImage(in: snapshot)
            } else {
                try writeImage(in: snapshot, check)
            }
        }
        try snapshot.setMode(of: Self.committedTree, 0o400)
    }

    private func takeAppliedImage(in snapshot: Directory) throws {
        guard try snapshot.open(Self.tree).names(atMost: 1).isEmpty else {
            throw StoreFailure(
                .failedPrecondition, "the snapshot has changes beside the layer that was applied to it",
                hint: "apply the layer to a snapshot of its own, and change a snapshot on top of it")
        }
        // Of an earlier commit that has failed.
        if try snapshot.status(of: Self.committedTree) != nil { try snapshot.removeFile(Self.committedTree) }
        try snapshot.link(AppliedImage.name, of: snapshot, as: Self.committedTree)
    }

    private func writeImage(in snapshot: Directory, _ check: () throws -> Void) throws {
        let image = try snapshot.openOrCreateFile(Self.unfinished, mode: 0o600)
        try image.truncate(to: 0)
        try DirectoryImage.write(try snapshot.open(Self.tree), to: image, scratch: snapshot, check: check)
        try snapshot.rename(Self.unfinished, to: Self.committedTree)
    }

    /// Later changes through the mount would not be in the image.
    private func refuseMounted(_ id: Int64) throws(StoreFailure) {
        let target = try attempting("cannot find out whether the snapshot is mounted") {
            () throws(SyscallFailure) in
            try MountTable.read().users(below: directories.path(of: id)).first?.target
        }
        if let target {
            throw StoreFailure(
                .failedPrecondition, "the snapshot is mounted on '\(escaped(target))'",
                hint: "unmount it first")
        }
    }

    /// Removes all but the image and the empty upper directory, which stays as the mount point of the image.
    func seal(_ id: Int64) throws(SyscallFailure) {
        let snapshot = try folder.open(id)
        try snapshot.open(Self.tree).removeContents()
        for name in try snapshot.names() where ![Self.tree, Self.committedTree].contains(name) {
            try snapshot.removeTree(name)
        }
    }

    func enableVerity(_ id: Int64) throws -> Digest? {
        try folder.open(id).openFile(Self.committedTree).enableVerity().map { Digest(.sha256, bytes: $0) }
    }

    func persist(_ id: Int64) throws(SyscallFailure) { try directories.persist(id) }

    func usage(
        of id: Int64, isCommitted: Bool, on parent: Int64?, tree: SnapshotUsage?
    ) throws(SyscallFailure) -> SnapshotUsage {
        if isCommitted { return SnapshotUsage(size: try File.status(of: image(of: id)).size, inodes: 1) }
        let applied = try folder.open(id).status(of: AppliedImage.name)
        let tree = try SnapshotUsage(of: try directories.open(id))
        return SnapshotUsage(
            size: tree.size + (applied?.size ?? 0), inodes: tree.inodes + (applied == nil ? 0 : 1))
    }

    func mounts(_ stack: SnapshotStack) throws(StoreFailure) -> [Mount] {
        switch stack {
        case .writable(let id, let parents):
            if parents.isEmpty { return [.bind(source: directories.path(of: id), readOnly: false)] }
            return [images(parents, directories.writable(id))]
        case .readOnly(let ids):
            if ids.count == 1 {
                return [.image(file: image(of: ids[0]), type: Mount.erofs, readOnly: true, options: [])]
            }
            return [images(ids, nil)]
        case .empty(let id): return [.bind(source: directories.path(of: id), readOnly: true)]
        }
    }

    private func images(_ ids: [Int64], _ writable: Mount.Writable?) -> Mount {
        .imageStack(
            ids.map(image), writable: writable, noIndex: UpperDirectories.hasIndexParameter)
    }

    // MARK: Probe

    /// Also mounts an empty image.
    func probe() throws(StoreFailure) -> WhiteoutForm {
        guard Privileges.current.isInitialNamespace else {
            throw StoreFailure(
                .unavailable,
                "erofs cannot be used without root: the kernel mounts no EROFS image in a user namespace",
                hint: "use --snapshotter overlayfs")
        }
        let form = try directories.probe(for: Self.self)
        do {
            _ = try ErofsSupport(probing: folder.directory, at: folder.path)
        } catch {
            throw StoreFailure(
                unable: error, Self.self, at: folder.path,
                hint:
                    "EROFS images with blocks of 512 bytes need Linux 6.4 or Debian's 6.1, with CONFIG_EROFS_FS; use --snapshotter overlayfs"
            )
        }
        return form
    }
}
