internal import Kernel
internal import Layers
internal import Mounts
internal import SystemPackage

/// A foreign tree that is open, without a mount that others see.
struct OpenTree {
    /// Topmost first; none where nothing is there.
    let layers: [Directory]
    let marks: OverlayMarks
    /// Where a layer would go; nil where nothing may be written.
    let target: LayerTarget?
    /// Of a file system of its own.
    private var mounted: Mounted?

    private struct Mounted {
        let mount: DetachedMount
        let device: LoopDevice?
        /// The file behind the device.
        let image: FileStatus.Identity?
    }

    /// - Parameters:
    ///   - isWritable: whether a layer will go there; if it cannot, that is an error.
    ///   - check: called, before anything is written, with what would be written to; what it throws ends the work.
    /// - Throws: `DifferFailure`, `SyscallFailure`, what `check` throws.
    init(
        _ tree: ForeignTree, isWritable: Bool, check: (borrowing File) throws -> Void = { _ in }
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
            throw DifferFailure.failedPrecondition("nothing can be written to a read-only mount")
        }
    }

    private static func mount(
        _ type: String, _ source: FilePath, isReadOnly: Bool, _ options: [MountOption],
        check: (borrowing File) throws -> Void
    ) throws -> Mounted {
        var device: LoopDevice?
        // Opened once: its name may lead elsewhere after the check.
        let found = try File.openForStatus(source)
        let status = try found.status()
        switch status.kind {
        case .block:
            // Another loop device, or another node of one, may stand for a file.
            if let file = try LoopTable.file(of: source) { try check(try File.openForStatus(file)) }
        case .regular:
            try check(found)
            // A second file system on the same bytes would damage them, or read what is half written.
            guard try isFree(status.identity) else {
                throw DifferFailure.failedPrecondition("'\(escaped(source))' is mounted writable already")
            }
            device = try LoopDevice(
                of: try found.reopened(writable: !isReadOnly), name: source.lastComponent?.string ?? "",
                readOnly: isReadOnly)
        default:
            throw DifferFailure.invalidArgument("'\(escaped(source))' is neither a block device nor a file")
        }
        let mount = try DetachedMount(
            type: type, source: device?.path ?? source, readOnly: isReadOnly,
            options: options.map { ($0.key, $0.value) })
        if device == nil { try check(mount.root.file) }
        return Mounted(mount: mount, device: device, image: device == nil ? nil : status.identity)
    }

    /// Whether no loop device may write to a file, which may be a moment late.
    private static func isFree(_ image: FileStatus.Identity) throws(SyscallFailure) -> Bool {
        for _ in 0..<patience {
            if try LoopTable.read().devices(of: image, onlyWriters: true).isEmpty { return true }
            Process.sleep(milliseconds: 10)
        }
        return false
    }

    /// Times 10 ms.
    private static let patience = 200
}

extension OpenTree {
    /// Opens a tree for writing, lends it, and gives it back so that its owner can mount it: a file system of its own is
    /// whole on its device then.
    ///
    /// - Parameters:
    ///   - isSynced: whether what was written has to reach the disk, wherever it is.
    ///   - check: as `init` has it.
    static func writing<Result>(
        to tree: ForeignTree, isSynced: Bool, check: (borrowing File) throws -> Void,
        _ body: (LayerTarget, OverlayMarks) throws -> Result
    ) throws -> Result {
        let result: Result
        var image: FileStatus.Identity?
        do {
            // Opened before anything is written, so that it is told of what could not be (syncfs(2)).
            let open = try OpenTree(tree, isWritable: true, check: check)
            image = open.mounted?.image
            guard let target = open.target else {
                throw DifferFailure.invalidArgument("there is no mount to apply a layer to")
            }
            result = try body(target, open.marks)
            if isSynced || open.mounted != nil { try target.directory.file.syncFileSystem() }
        }
        if case .fileSystem(_, let source, _, _) = tree, let image, try !isFree(image) {
            throw DifferFailure.failedPrecondition("'\(escaped(source))' cannot be unmounted")
        }
        return result
    }
}
