internal import Erofs
internal import ErofsFiles
internal import Kernel
internal import Mounts
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

    /// Writes the image of a snapshot that was changed through its mounts.
    func finish(_ id: Int64, for purpose: SnapshotPurpose, check: () throws -> Void) throws {
        let snapshot = try folder.open(id)
        if purpose == .changes {
            try refuseMounted(id)
            let image = try snapshot.openOrCreateFile(Self.unfinished, mode: 0o600)
            try image.truncate(to: 0)
            try DirectoryImage.write(
                try snapshot.open(Self.tree), to: image, scratch: snapshot, check: check)
            try snapshot.rename(Self.unfinished, to: Self.committedTree)
        }
        try snapshot.setMode(of: Self.committedTree, 0o400)
    }

    /// Later changes through the mount would not be in the image.
    private func refuseMounted(_ id: Int64) throws(StoreFailure) {
        let target = try attempting("cannot find out whether the snapshot is mounted") {
            () throws(SyscallFailure) in
            try MountTable.read().users(below: directories.path(of: id)).first?.target
        }
        if let target {
            throw StoreFailure(
                .failedPrecondition, "the snapshot is mounted on \(escaped(target))",
                hint: "unmount it first")
        }
    }

    /// Empties the upper directory, which stays as the mount point of the image.
    func seal(_ id: Int64) throws(SyscallFailure) {
        let snapshot = try folder.open(id)
        guard try snapshot.status(of: Self.tree) != nil else { return }
        try snapshot.open(Self.tree).removeContents()
        try directories.removeWork(id)
    }

    func persist(_ id: Int64) throws(SyscallFailure) { try directories.persist(id) }

    func usage(
        of id: Int64, isCommitted: Bool, on parent: Int64?, tree: SnapshotUsage?
    ) throws(SyscallFailure) -> SnapshotUsage {
        guard isCommitted else { return try SnapshotUsage(of: try directories.open(id)) }
        return SnapshotUsage(size: try File.status(of: image(of: id)).size, inodes: 1)
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
        let name = FileName(literal: ".probe-\(UInt32.random(in: .min ... .max))")
        defer { try? folder.directory.removeTree(name) }
        do {
            let file = try folder.directory.openOrCreateFile(name, mode: 0o600)
            var writer = try ErofsWriter(
                .tarBacked, uuid: [UInt8](repeating: 0, count: 16), image: FileStore(file))
            let root = InodeMetadata(mode: 0o755, uid: 0, gid: 0, seconds: 0, nanoseconds: 0)
            try writer.describe(ErofsWriter.root, root)
            _ = try writer.finish()
            _ = try DetachedMount.erofs(folder.path.appending(name.description))
        } catch {
            throw StoreFailure(
                unable: error, Self.self, at: folder.path,
                hint:
                    "EROFS images with blocks of 512 bytes need Linux 6.4 with CONFIG_EROFS_FS; use --snapshotter overlayfs"
            )
        }
        return form
    }
}
