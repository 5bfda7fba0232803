internal import Kernel
internal import Mounts
internal import SystemPackage

/// Snapshots as datasets of ZFS, each a clone of its parent's: nothing is copied. `<id>/dataset` is a link that ends in
/// the number of the dataset. The store's root must be the mount point of a dataset, whose children these are.
///
/// A committed snapshot is mounted as the ZFS snapshot that the commit took, so that a view needs no clone.
struct ZfsBackend: VolumeBackend {
    static let name = "zfs"
    static let content = SnapshotContent.mergedTree
    static let tree = FileName(literal: "dataset")

    let folder: BackendFolder

    func make(_ id: Int64, for purpose: SnapshotPurpose, on parent: Int64?, check: () throws -> Void) throws {
        if purpose == .view, parent != nil { return }
        let datasets = try datasets()
        try link(id, to: datasets.name(id))
        if let parent {
            try datasets.clone(id, of: try number(of: parent))
        } else {
            try datasets.create(id)
        }
    }

    func open(_ id: Int64, isWritable: Bool) throws(SyscallFailure) -> SnapshotTree {
        let (datasets, number) = (try datasets(), try number(of: id))
        let source = isWritable ? datasets.name(number) : datasets.committedName(number)
        return SnapshotTree(
            try DetachedMount(
                type: Mount.zfs, source: FilePath(source), readOnly: !isWritable, options: []))
    }

    /// Takes the ZFS snapshot that becomes the committed one. What a client that has it still mounted writes later is not
    /// part of it.
    func finish(_ id: Int64, for purpose: SnapshotPurpose, check: () throws -> Void) throws {
        try attempting("cannot take the ZFS snapshot of a snapshot") { () throws(SyscallFailure) in
            try open(id, isWritable: true).flush()
            try datasets().commit(try number(of: id))
        }
    }

    func seal(_ id: Int64) {}

    /// ZFS has written its own part before the program that made the dataset has ended.
    func persist(_ id: Int64) throws(SyscallFailure) { try folder.directory.file.syncFileSystem() }

    /// The bytes that only the dataset has, and one inode.
    func usage(
        of id: Int64, isCommitted: Bool, on parent: Int64?, tree: SnapshotUsage?
    ) throws(SyscallFailure) -> SnapshotUsage {
        SnapshotUsage(size: try datasets().usedBytes(try number(of: id)), inodes: 1)
    }

    func mounts(_ stack: SnapshotStack) throws(StoreFailure) -> [Mount] {
        guard let id = stack.top else { return [] }
        return try attempting("cannot find out how the snapshot \(id) is mounted") {
            () throws(SyscallFailure) in
            let (datasets, number) = (try datasets(), try number(of: id))
            let source =
                if case .readOnly = stack { datasets.committedName(number) } else { datasets.name(number) }
            return [.device(FilePath(source), type: Mount.zfs, readOnly: stack.isReadOnly, options: [])]
        }
    }

    func deleteVolume(_ number: Int64) throws(SyscallFailure) { try datasets().destroy(number) }

    // MARK: The dataset of the store

    private var root: FilePath { folder.path.removingLastComponent() }

    /// - Throws: ENODEV if no dataset is mounted on the store's root.
    private func datasets() throws(SyscallFailure) -> ZfsDatasets {
        guard let dataset = try MountTable.read().source(mountedOn: root, type: Mount.zfs) else {
            throw SyscallFailure("mountinfo", path: escaped(root), errno: .operationNotSupportedByDevice)
        }
        return ZfsDatasets(parent: dataset.string)
    }

    func probe() throws(StoreFailure) -> WhiteoutForm {
        if let fault = Self.fault(on: root) {
            throw StoreFailure(
                .unavailable, "zfs cannot keep snapshots: \(fault.reason)",
                hint: "\(fault.remedy), or use another --snapshotter")
        }
        // Datasets have devices and trusted attributes.
        return .device
    }

    /// Why no dataset can be made in the one that is mounted on a directory, and what helps; nil if one can.
    static func fault(on root: FilePath) -> (reason: String, remedy: String)? {
        do throws(SyscallFailure) {
            guard try MountTable.read().source(mountedOn: root, type: Mount.zfs) != nil else {
                return (
                    "no dataset is mounted on \(escaped(root))",
                    "make one: zfs create -o mountpoint=\(escaped(root)) POOL/unpack"
                )
            }
            _ = try Process.run(ZfsDatasets.program, ["version"])
            return nil
        } catch {
            return ("\(error)", "install the program zfs (Debian: zfsutils-linux)")
        }
    }
}
