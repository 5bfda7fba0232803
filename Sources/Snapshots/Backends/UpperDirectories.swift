internal import Kernel
internal import Mounts
internal import SystemPackage

/// The directories that overlay writes to: in the directory of an active snapshot `fs` is the upper directory, and `work`
/// beside it belongs to the kernel.
struct UpperDirectories {
    static let tree = FileName(literal: "fs")
    private static let work = FileName(literal: "work")

    let folder: BackendFolder

    /// Makes them, or the empty tree of a view.
    ///
    /// - Parameter root: the root of the topmost layer below, whose metadata the new one gets: overlay shows the topmost
    ///   root, so a new one would change the metadata of `/`.
    func make(_ id: Int64, isView: Bool, over root: Directory?) throws {
        let snapshot = try folder.open(id)
        let tree = try folder.makeTree(Self.tree, in: snapshot)
        if isView { return }
        try snapshot.makeDirectory(Self.work, mode: 0o711)
        if let root { try tree.takeMetadata(of: root, try root.file.status()) }
    }

    func open(_ id: Int64) throws(SyscallFailure) -> Directory { try folder.open(id).open(Self.tree) }

    func removeWork(_ id: Int64) throws(SyscallFailure) { try folder.open(id).removeTree(Self.work) }

    /// Syncs the directories and the root's metadata: there is no content yet.
    func persist(_ id: Int64) throws(SyscallFailure) {
        let snapshot = try folder.open(id)
        for name in try snapshot.names() { try snapshot.open(name).file.sync() }
        try snapshot.file.sync()
        try folder.directory.file.sync()
    }

    func path(of id: Int64) -> FilePath { folder.path(of: id).appending(Self.tree.description) }

    func writable(_ id: Int64) -> Mount.Writable {
        Mount.Writable(upper: path(of: id), work: folder.path(of: id).appending(Self.work.description))
    }

    /// If the parameter exists, the index may be on by default; it would bind an upper directory to its lower ones by
    /// file handle.
    static let hasIndexParameter = (try? File.open("/sys/module/overlay/parameters/index", .read)) != nil

    /// File systems that can hold layers. tmpfs has no `user.*` attributes before Linux 6.6.
    private static let fileSystems =
        OverlayMarks.own == .user && KernelRelease.current < KernelRelease(major: 6, minor: 6)
        ? "ext4, xfs or btrfs" : "ext4, xfs, btrfs or tmpfs"

    private static let hint = """
        put the store on \(fileSystems) with --root DIR; on an overlay file system, as inside a container, whiteouts can be \
        made from Linux 6.7 on
        """

    /// Finds out by trial in which form overlay can have whiteouts here.
    ///
    /// - Throws: `.unavailable` with the reason and a hint, `.system`.
    func probe(for backend: any SnapshotBackend.Type) throws(StoreFailure) -> WhiteoutForm {
        let form: WhiteoutForm
        let recordsTypes: Bool
        do {
            (form, recordsTypes) = try folder.tryLayers()
        } catch {
            throw StoreFailure(unable: error, backend, at: folder.path, hint: Self.hint)
        }
        // Earlier kernels do not read them (kernel: overlayfs.rst, "Nesting overlayfs mounts").
        if form == .attribute, KernelRelease.current < KernelRelease(major: 6, minor: 7) {
            throw StoreFailure(
                .unavailable,
                "\(backend.name) cannot keep snapshots under \(escaped(folder.path)): whiteouts cannot be devices there, and this "
                    + "kernel does not read whiteouts in extended attributes", hint: Self.hint)
        }
        guard recordsTypes else {
            throw StoreFailure(
                .unavailable,
                "\(backend.name) cannot keep snapshots under \(escaped(folder.path)): the file system does not record the types of "
                    + "directory entries (d_type), by which overlay finds whiteouts",
                hint:
                    "use --snapshotter native or loop, or put the store on a file system that does with --root DIR: xfs with ftype=1, ext4 with filetype"
            )
        }
        return form
    }
}
