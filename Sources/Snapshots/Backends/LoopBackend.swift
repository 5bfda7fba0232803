internal import Kernel
internal import Mounts
internal import SystemPackage

/// Snapshots as whole ext4 file systems in sparse files, `<id>/image`, each a copy of its parent's: for hosts whose own
/// file system cannot hold layers, and for consumers that need a block device. If the host's file system shares
/// extents (xfs, btrfs), a copy shares them.
///
/// To be written, an image is mounted outside of every mount namespace (`DetachedMount`): the mount ends with the
/// process that has made it.
struct LoopBackend: SnapshotBackend {
    static let name = "loop"
    static let content = SnapshotContent.mergedTree
    static let tree = FileName(literal: "image")
    private static let type = BlockFileSystem.ext4
    /// An empty file system, copied for every snapshot without a parent.
    static let scratch = FileName(literal: "scratch")

    let folder: BackendFolder

    func make(_ id: Int64, for purpose: SnapshotPurpose, on parent: Int64?, check: () throws -> Void) throws {
        if purpose == .view, parent != nil { return }
        let directory = try folder.open(id)
        if let parent {
            try directory.copyImage(
                try folder.open(parent).openFile(Self.tree), as: Self.tree, check: check)
        } else {
            try directory.copyImage(try folder.directory.openFile(Self.scratch), as: Self.tree)
        }
    }

    func open(_ id: Int64, isWritable: Bool) throws(SyscallFailure) -> SnapshotTree {
        SnapshotTree(
            try Self.mount(folder.path(of: id).appending(Self.tree.description), readOnly: !isWritable))
    }

    private static func mount(_ image: FilePath, readOnly: Bool) throws(SyscallFailure) -> DetachedMount {
        let device = try LoopDevice(of: image, readOnly: readOnly)
        return try DetachedMount(
            type: type.rawValue, source: device.path, readOnly: readOnly,
            options: type.mountOptions(readOnly: readOnly).map { ($0, nil) })
    }

    /// Waits until no writable mount is left: an image is complete only without one, and the end of a mount may take a
    /// moment.
    func finish(_ id: Int64, for purpose: SnapshotPurpose, check: () throws -> Void) throws {
        let isClean = try attempting("cannot look at a snapshot's image") { () throws(SyscallFailure) in
            for _ in 0..<Self.attempts {
                if try isUnmounted(id) { return true }
                Process.sleep(milliseconds: 10)
            }
            return false
        }
        guard isClean else {
            throw StoreFailure(
                .failedPrecondition, "the snapshot is mounted writable, or was not unmounted",
                hint: "unmount it first; after a crash mount and unmount it once")
        }
    }

    /// Attempts, 10 ms apart.
    private static let attempts = 200

    /// Whether nothing writes to the image and its journal is empty: `s_feature_incompat` of the superblock lacks
    /// RECOVER (kernel: Documentation/filesystems/ext4, "Super Block").
    private func isUnmounted(_ id: Int64) throws(SyscallFailure) -> Bool {
        let path = folder.path(of: id).appending(Self.tree.description)
        guard try LoopTable.read().devices(of: path, onlyWriters: true).isEmpty else { return false }
        let needsRecovery: UInt8 = 0x4
        let file = try File.open(path, .read)
        var start = [UInt8]()
        try file.read(into: &start, limit: 2048)
        let incompatible = 1024 + 0x60
        return start.count > incompatible && start[incompatible] & needsRecovery == 0
    }

    func seal(_ id: Int64) throws(SyscallFailure) { try folder.open(id).setMode(of: Self.tree, 0o400) }

    func persist(_ id: Int64) throws(SyscallFailure) { try folder.directory.file.syncFileSystem() }

    /// The image's blocks without its parent's, and one inode.
    func usage(
        of id: Int64, isCommitted: Bool, on parent: Int64?, tree: SnapshotUsage?
    ) throws(SyscallFailure) -> SnapshotUsage {
        func bytes(_ id: Int64) throws(SyscallFailure) -> Int64 {
            (try folder.open(id).status(of: Self.tree)?.blocks ?? 0) * FileStatus.blockSize
        }
        let below = try parent.map(bytes) ?? 0
        return SnapshotUsage(size: max(0, try bytes(id) - below), inodes: 1)
    }

    func mounts(_ stack: SnapshotStack) -> [Mount] {
        guard let id = stack.top else { return [] }
        let image = folder.path(of: id).appending(Self.tree.description)
        return [.image(file: image, type: Self.type.rawValue, readOnly: stack.isReadOnly, options: [])]
    }

    // MARK: Probe

    func probe() throws(StoreFailure) -> WhiteoutForm {
        try makeScratch()
        do {
            let probe = FileName(literal: ".probe-\(UInt32.random(in: .min ... .max))")
            defer { try? folder.directory.removeTree(probe) }
            try folder.directory.copyImage(try folder.directory.openFile(Self.scratch), as: probe)
            let mount = try Self.mount(folder.path.appending(probe.description), readOnly: false)
            let directory = try mount.root.ensureDirectory("probe")
            return try directory.probeWhiteoutForm()
        } catch {
            throw StoreFailure(
                unable: error, Self.self, at: folder.path,
                hint: "loop devices need root and /dev/loop-control, as in a privileged container")
        }
    }

    /// Makes the empty file system once, under another name first, so that a crash leaves either none or a complete
    /// one.
    private func makeScratch() throws(StoreFailure) {
        let doing = "cannot make an empty file system"
        let isThere = try attempting(doing) { () throws(SyscallFailure) in
            try folder.directory.status(of: Self.scratch) != nil
        }
        if isThere { return }
        let name = FileName(literal: ".scratch-\(UInt32.random(in: .min ... .max))")
        let path = folder.path.appending(name.description)
        defer { try? folder.directory.removeTree(name) }
        try attempting(doing) { () throws(SyscallFailure) in
            let file = try folder.directory.openOrCreateFile(name, mode: 0o600)
            try file.truncate(to: Self.size)
            try file.close()
        }
        try BlockFileSystem.ext4.format(path, for: Self.name, journal: "8")
        try attempting(doing) { () throws(SyscallFailure) in
            do {
                let mount = try Self.mount(path, readOnly: false)
                try mount.root.removeTree(FileName(literal: "lost+found"))
                try mount.sync()
            }
            try folder.directory.rename(name, to: Self.scratch)
        }
    }

    /// The maximum size of a snapshot in bytes; the sparse file has only the blocks that were written.
    private static let size: Int64 = 64 << 30
}

extension Directory {
    /// Makes a file with the content of another one, with its holes and with shared extents where the file system has
    /// them.
    fileprivate func copyImage(
        _ source: borrowing File, as name: FileName, check: () throws -> Void = {}
    ) throws {
        let copy = try openOrCreateFile(name, mode: 0o600)
        try copy.truncate(to: 0)
        try copy.copyContent(of: source, check: check)
        try copy.close()
    }
}
