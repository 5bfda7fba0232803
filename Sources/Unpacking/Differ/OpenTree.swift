internal import Kernel
internal import Layers
internal import Mounts
internal import SystemPackage

/// A `ContainerdTree` with its directories open. A file system is mounted as a `DetachedMount`, which other processes
/// do not see.
struct OpenTree {
    /// Topmost first; empty for an empty tree.
    let layers: [Directory]
    let marks: OverlayMarks
    /// Where a layer is applied; nil for a tree that is read-only or empty.
    let target: LayerTarget?
    /// The mount of a `ContainerdTree.fileSystem`.
    private var mounted: Mounted?

    private struct Mounted {
        let mount: DetachedMount
        let device: LoopDevice?
        /// The image file of the loop device.
        let image: FileStatus.Identity?
    }

    /// - Parameters:
    ///   - isWritable: whether a layer will be applied; a read-only tree is then an error.
    ///   - check: called with each file or directory that would be written to, before anything is written.
    /// - Throws: `DifferFailure`, `SyscallFailure`, and what `check` throws.
    init(
        _ tree: ContainerdTree, isWritable: Bool, check: (borrowing File) throws -> Void = { _ in }
    ) throws {
        var marks = OverlayMarks.own
        switch tree {
        case .none:
            layers = []
            target = nil
        case .directory(let path, let isReadOnly):
            let directory = try Directory(opening: path)
            layers = [directory]
            target = isReadOnly ? nil : .tree(directory)
        case .overlay(let lowers, let upper, let userAttributes):
            let lowers = try lowers.map { path throws(SyscallFailure) in try Directory(opening: path) }
            let upper = try upper.map { path throws(SyscallFailure) in try Directory(opening: path) }
            layers = (upper.map { [$0] } ?? []) + lowers
            target = upper.map { .upper($0, over: lowers) }
            marks = userAttributes ? .user : .trusted
        case .fileSystem(let type, let source, let isReadOnly, let options):
            let isReadOnly = isReadOnly || !isWritable
            let mounted = try Self.mount(
                type, source, isReadOnly: isReadOnly, options, check: isWritable ? check : { _ in })
            layers = [mounted.mount.root]
            target = isReadOnly ? nil : .tree(mounted.mount.root)
            self.mounted = mounted
        }
        self.marks = marks
        if isWritable, mounted == nil, let target { try check(target.directory.file) }
        if isWritable, target == nil, tree != .none {
            throw DifferFailure.failedPrecondition("a layer cannot be applied to a read-only mount")
        }
    }

    private static func mount(
        _ type: String, _ source: FilePath, isReadOnly: Bool, _ options: [MountOption],
        check: (borrowing File) throws -> Void
    ) throws -> Mounted {
        var device: LoopDevice?
        // Opened once, because the path may lead to another file after the check.
        let found = try File.openForStatus(source)
        let status = try found.status()
        switch status.kind {
        case .block:
            // A device node may belong to a loop device whose image file is in a store.
            if let file = try LoopTable.file(of: source) { try check(try File.openForStatus(file)) }
        case .regular:
            try check(found)
            // Mounting one image twice would corrupt it, or read it while it is being written.
            guard try hasNoWriter(status.identity) else {
                throw DifferFailure.failedPrecondition("'\(escaped(source))' is already mounted read-write")
            }
            device = try LoopDevice(
                of: try found.reopened(writable: !isReadOnly), name: source.lastComponent?.string ?? "",
                readOnly: isReadOnly)
        default:
            throw DifferFailure.invalidArgument(
                "'\(escaped(source))' is neither a block device nor a regular file")
        }
        let mount = try DetachedMount(
            type: type, source: device?.path ?? source, readOnly: isReadOnly,
            options: options.map { ($0.key, $0.value) })
        if device == nil { try check(mount.root.file) }
        return Mounted(mount: mount, device: device, image: device == nil ? nil : status.identity)
    }

    /// Whether no loop device can write to an image file. Waits up to 2 s, because the kernel detaches loop devices
    /// asynchronously.
    private static func hasNoWriter(_ image: FileStatus.Identity) throws(SyscallFailure) -> Bool {
        for _ in 0..<200 {
            if try LoopTable.read().devices(of: image, onlyWriters: true).isEmpty { return true }
            Process.sleep(milliseconds: 10)
        }
        return false
    }
}

extension OpenTree {
    /// Opens a tree for writing, runs `body`, and closes the tree, so that its owner can mount it. A file system is
    /// always synced, and its loop device detached.
    ///
    /// - Parameters:
    ///   - isSynced: whether directories are synced too.
    ///   - check: as in `init`.
    static func writing<Result>(
        to tree: ContainerdTree, isSynced: Bool, check: (borrowing File) throws -> Void,
        _ body: (LayerTarget, OverlayMarks) throws -> Result
    ) throws -> Result {
        let result: Result
        var image: FileStatus.Identity?
        do {
            // Opened before anything is written: syncfs(2) reports errors since the descriptor was opened.
            let open = try OpenTree(tree, isWritable: true, check: check)
            image = open.mounted?.image
            guard let target = open.target else {
                throw DifferFailure.invalidArgument("there is no mount to apply a layer to")
            }
            result = try body(target, open.marks)
            if isSynced || open.mounted != nil { try target.directory.file.syncFileSystem() }
        }
        if case .fileSystem(_, let source, _, _) = tree, let image, try !hasNoWriter(image) {
            throw DifferFailure.failedPrecondition("'\(escaped(source))' is still attached to a loop device")
        }
        return result
    }
}
