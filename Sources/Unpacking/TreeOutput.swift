package import Kernel
internal import Layers
internal import Layout
package import Logging
internal import OCI
package import SystemPackage

/// Unpacks an image into one plain directory, without a store or snapshots: the layers one after the other into the
/// same tree.
package struct TreeOutput: Sendable {
    private let request: UnpackRequest
    private let target: FilePath
    private let cancellation: Cancellation
    private let logger: Logger
    private let onEvent: @Sendable (UnpackEvent) -> Void

    /// - Parameters:
    ///   - request: only image, selector, durability and limits are used.
    ///   - target: a directory that is empty or missing.
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

    /// The directory in the target in which the tree is staged; no entry of a layer can have this name.
    private static let staged = FileName(literal: ".wh..wh.output")

    /// Unpacks the image.
    ///
    /// - Throws: `.usage` for a directory that is not empty. A run that fails removes what it has created except for
    ///   directories above the target, and nothing else.
    package func run() throws(UnpackError) -> OutputResult {
        let (layout, _, image) = try request.open(cancellation, onEvent)
        for step in image.steps { try attempt(in: step) { try layout.check(step.descriptor) } }
        let isNew = (try? File.statusNotFollowing(target)) == nil
        let folder = try makeDirectory(target)
        try checkEmpty(folder)
        let access = try takeExclusiveAccess(to: folder)
        do throws(UnpackError) {
            let warnings = try fill(folder, with: image, of: layout)
            try attempt { try layout.finish() }
            return try image.outputResult(warnings)
        } catch {
            try? folder.restore(access)
            // rmdir(2) removes it only if it is empty.
            if isNew { try? Directory.removeEmptyDirectory(at: target) }
            throw error
        }
    }

    /// Takes exclusive access to the target, so that no other user can add entries after it was found empty, or swap
    /// entries while the image is moved there.
    private func takeExclusiveAccess(to folder: Directory) throws(UnpackError) -> Directory.Access {
        do {
            return try folder.takeExclusiveAccess()
        } catch {
            let failure = OwnershipFailure(error)
            guard failure.isPermission else {
                return try attempt(writingTo: .output) { throw error }
            }
            throw UnpackError(
                .permission,
                "cannot change the owner of '\(escaped(target))', which belongs to another user: \(failure)",
                hint: "use a directory of your own, or one that does not exist yet")
        }
    }

    private func checkEmpty(_ folder: Directory) throws(UnpackError) {
        guard try attempt(writingTo: .output, { try folder.names(atMost: 1).isEmpty }) else {
            throw UnpackError(
                .usage, "'\(escaped(target))' is not empty",
                hint: "use an empty directory, or one that does not exist yet")
        }
    }

    private func fill(
        _ folder: Directory, with image: Image, of layout: ImageLayout
    ) throws(UnpackError) -> [String] {
        // Checked again: until now the previous owner could add entries.
        try checkEmpty(folder)
        // If two processes unpack here at the same time, one of them fails here.
        try attempt(writingTo: .output) { try folder.makeDirectory(Self.staged, mode: 0o700) }
        do throws(UnpackError) {
            let tree = try attempt(writingTo: .output) { try folder.open(Self.staged) }
            let warnings = try apply(image, of: layout, to: tree)
            try attempt(writingTo: .output) { try move(tree, to: folder) }
            return warnings
        } catch {
            try? folder.removeTree(Self.staged)
            throw error
        }
    }

    /// Moves all entries to the target, or none.
    private func move(_ tree: Directory, to folder: Directory) throws {
        let status = try tree.file.status()
        var moved = [FileName]()
        do {
            for name in try tree.names() {
                try tree.renameNotReplacing(name, in: folder)
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
        let (layers, free) = try attempt(writingTo: .output) {
            // The finished tree has no whiteouts, but each layer is staged with them.
            let layers = try tree.probeStagedLayers()
            try tree.removeContents()
            // Of the probe.
            try tree.file.removeFileAttributes(keepingOverlayMarks: false)
            return (layers, try tree.file.freeBytes())
        }
        let budget = request.limits.budget(
            compressed: image.steps.reduce(0) { $0 + $1.descriptor.size }, freeBytes: free)
        let pipeline = LayerPipeline(
            layout, form: layers.form, marks: layers.marks, budget: budget, cancellation: cancellation)
        onEvent(.planned(image.steps, cached: []))
        var warnings = [String]()
        for step in image.steps {
            onEvent(.started(step))
            let applied = try attempt(in: step, writingTo: .output) { [onEvent] in
                try pipeline.apply(step, into: tree, progress: { onEvent(.progressed(step, $0)) })
            }
            for warning in applied.warnings {
                onEvent(.warned(step, message: warning.description))
                warnings.append("\(step.name): \(warning.description)")
            }
            onEvent(.committed(step))
            logger.debug("\(step.name): \(applied.entries) entries")
        }
        return warnings
    }
}

/// Opens a directory outside of the store, and creates it and the directories above if they are missing.
///
/// - Parameter mode: mode of the last directory, before the umask that the program was started with.
func makeDirectory(_ path: FilePath, mode: UInt32 = 0o777) throws(UnpackError) -> Directory {
    do throws(SyscallFailure) {
        let mask = Process.inheritedModeMask
        return try Directory.makingPath(path, mode: mode & ~mask, parents: 0o777 & ~mask)
    } catch {
        let inner = UnpackError(error, to: .output)
        throw UnpackError(
            inner.code, "cannot make the directory '\(escaped(path))': \(error)", hint: inner.hint)
    }
}
