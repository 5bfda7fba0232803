internal import Kernel
internal import Layers
internal import Layout
package import Logging
internal import OCI
package import Streams
package import SystemPackage

/// Unpacks an image into one plain directory, with no store and no snapshots: the layers one after the other into the same tree.
package struct TreeOutput: Sendable {
    private let request: UnpackRequest
    private let target: FilePath
    private let cancellation: Cancellation
    private let logger: Logger
    private let onEvent: @Sendable (UnpackEvent) -> Void

    /// - Parameters:
    ///   - request: of which image, selector, durability and limits count.
    ///   - target: a directory that is empty or not there yet.
    package init(
        _ request: UnpackRequest, to target: FilePath, cancellation: Cancellation, logger: Logger,
        onEvent: @escaping @Sendable (UnpackEvent) -> Void
    ) {
        self.request = request
        self.target = target
        self.cancellation = cancellation
        self.logger = logger
        self.onEvent = onEvent
    }

    /// Where the tree grows, inside of the target: no layer can have the name.
    private static let staged = FileName(literal: ".wh..wh.output")

    /// - Returns: what was said about the image.
    /// - Throws: `.usage` for a directory that is not empty. Nothing is left of a run that fails but directories above it, and
    ///   nothing of anybody else's goes.
    package func run() throws(UnpackError) -> PlainResult {
        let (layout, _, image) = try request.open(cancellation, onEvent)
        for step in image.steps { try attempt(in: step) { try layout.check(step.descriptor) } }
        let isNew = (try? File.statusNotFollowing(target)) == nil
        let folder = try makeDirectory(target)
        try refuseContents(of: folder)
        let access = try takeOver(folder)
        do throws(UnpackError) {
            let warnings = try fill(folder, with: image, of: layout)
            try attempt { try layout.finish() }
            return try image.plainResult(warnings)
        } catch {
            try? folder.restore(access)
            // Only if it is empty.
            if isNew { try? Directory.removing(target) }
            throw error
        }
    }

    /// Takes the directory over from the user that made it, so that no other user can add entries after it was found empty, or
    /// swap entries while the image is moved there.
    private func takeOver(_ folder: Directory) throws(UnpackError) -> Directory.Access {
        do throws(SyscallFailure) {
            return try folder.takeOver()
        } catch {
            guard error.isPermission else { throw UnpackError(error) }
            throw UnpackError(
                .permission,
                "'\(escaped(target))' belongs to another user, and cannot be taken over: \(error)",
                hint: "name a directory of your own, or one that is not there yet")
        }
    }

    private func refuseContents(of folder: Directory) throws(UnpackError) {
        guard try attempt({ try folder.names(atMost: 1).isEmpty }) else {
            throw UnpackError(
                .usage, "'\(escaped(target))' is not empty",
                hint: "name a directory that is, or that is not there yet")
        }
    }

    private func fill(
        _ folder: Directory, with image: Image, of layout: ImageLayout
    ) throws(UnpackError) -> [String] {
        // Once more: until it was taken over, its owner could add to it.
        try refuseContents(of: folder)
        // Of two who do so at once, one fails here.
        try attempt { try folder.makeDirectory(Self.staged, mode: 0o700) }
        do throws(UnpackError) {
            let tree = try attempt { try folder.open(Self.staged) }
            let warnings = try apply(image, of: layout, to: tree)
            try attempt { try move(tree, to: folder) }
            return warnings
        } catch {
            try? folder.removeTree(Self.staged)
            throw error
        }
    }

    /// Moves all names, or none.
    private func move(_ tree: Directory, to folder: Directory) throws {
        let status = try tree.file.status()
        var moved = [FileName]()
        do {
            for name in try tree.names() {
                try tree.renameToNew(name, in: folder)
                moved.append(name)
            }
            try folder.takeMetadata(of: tree, status)
            try folder.removeEmptyDirectory(Self.staged)
            try folder.file.setTimes(access: status.accessTime, modification: status.modificationTime)
            if request.durability == .fs {
                onEvent(.syncing)
                try folder.file.syncFileSystem()
            }
        } catch {
            for name in moved { try? folder.removeTree(name) }
            throw error
        }
    }

    private func apply(
        _ image: Image, of layout: ImageLayout, to tree: Directory
    ) throws(UnpackError) -> [String] {
        let (form, free) = try attempt {
            // What hides something is gone at the end, but must be possible meanwhile.
            let form = try tree.tryLayer()
            try tree.removeContents()
            return (form, try tree.file.freeBytes())
        }
        let limits = request.limits
        let compressed = image.steps.reduce(0) { $0 + $1.descriptor.size }
        let (uncompressed, isEndless) = compressed.multipliedReportingOverflow(by: limits.ratio ?? .max)
        let budget = Budget(
            Budget.Limits(
                bytes: limits.bytes ?? free, isFreeSpace: limits.bytes == nil, entries: limits.entries,
                uncompressed: isEndless ? .max : uncompressed))
        let pipeline = LayerPipeline(layout, form: form, budget: budget, cancellation: cancellation)
        onEvent(.planned(image.steps, cached: []))
        var warnings = [String]()
        for step in image.steps {
            onEvent(.started(step))
            let applied = try attempt(in: step) { [onEvent] in
                try pipeline.apply(step, into: tree, progress: { onEvent(.progressed(step, $0)) })
            }
            for warning in applied.warnings {
                onEvent(.warned(step, warning))
                warnings.append("\(step.name): \(warning.description)")
            }
            onEvent(.committed(step))
            logger.debug("\(step.name): \(applied.entries) entries")
        }
        return warnings
    }
}

/// Opens a directory of the user's, made with those above it if it is not there.
///
/// - Parameter mode: of the last one; the umask that the program was started with applies to all.
func makeDirectory(_ path: FilePath, mode: UInt32 = 0o777) throws(UnpackError) -> Directory {
    do throws(SyscallFailure) {
        let mask = Process.inheritedModeMask
        return try Directory.makingAll(path, mode: mode & ~mask, parents: 0o777 & ~mask)
    } catch {
        let inner = UnpackError(error)
        throw UnpackError(
            inner.code, "cannot make the directory '\(escaped(path))': \(error)", hint: inner.hint)
    }
}
