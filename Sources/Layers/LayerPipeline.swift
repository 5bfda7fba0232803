internal import Archive
internal import Compression
package import Kernel
package import Layout
package import OCI
package import Streams

/// Applies layers in one pass over each blob: one thread reads, hashes and decompresses into a ring, a second hashes
/// the tar, a third parses and writes.
///
/// Any number of layers can be applied in parallel, each to its own directory.
package struct LayerPipeline: Sendable {
    /// Called with the number of compressed bytes of the layer that have been read so far.
    package typealias Progress = @Sendable (Int64) -> Void

    private let blobs: any BlobSource
    private let form: WhiteoutForm
    let marks: OverlayMarks
    let budget: Budget
    let cancellation: Cancellation
    private let parallelLayers: Int
    private let keepsDigests: Bool
    private let earlyFinalizationInterval: Int

    /// Directories of a layer that are tracked before some are finalized early: more than almost all layers have, in
    /// 20 MB.
    package static let defaultEarlyFinalizationInterval = 65_536

    /// - Parameters:
    ///   - form: the form of the whiteouts that are written.
    ///   - marks: the attributes of overlayfs, in these layers and in those below.
    ///   - parallelLayers: number of layers that are applied in parallel; they share the memory.
    ///   - keepsDigests: whether an applied layer has the digests of its files.
    package init(
        _ blobs: any BlobSource, form: WhiteoutForm, marks: OverlayMarks = .own, budget: Budget,
        cancellation: Cancellation, parallelLayers: Int = 1, keepsDigests: Bool = false,
        earlyFinalizationInterval: Int = defaultEarlyFinalizationInterval
    ) {
        self.blobs = blobs
        self.form = form
        self.marks = marks
        self.budget = budget
        self.cancellation = cancellation
        self.parallelLayers = parallelLayers
        self.keepsDigests = keepsDigests
        self.earlyFinalizationInterval = earlyFinalizationInterval
    }

    /// Bytes of the blocks between the threads, for all layers together.
    private static let blockMemory = 24 << 20

    /// Largest size that the memory allows, but at least 64 KiB: with smaller blocks the threads mostly wait for each
    /// other.
    private var blockSize: Int {
        let share = Self.blockMemory / parallelLayers / BlockRing.defaultBlockCount
        return min(BlockRing.defaultBlockSize, max(1 << 16, share & ~0xFFF))
    }

    /// Bytes of decompression windows, for all layers together: enough for four layers of zstd's level 19.
    private static let windowMemory = 32 << 20

    /// Largest window of a layer that does not have to wait until it is the lowest unfinished one.
    var sharedWindow: Int {
        parallelLayers == 1
            ? Decompressor.defaultMaximumWindow : max(1 << 20, Self.windowMemory / parallelLayers)
    }

    /// Applies one layer to an empty directory.
    ///
    /// - Parameters:
    ///   - lower: future of the lower view. Until it is fulfilled, the layer is applied on the assumption that no
    ///     entry traverses a symlink of the layers below. An entry that needs the view, and the completion of the
    ///     layer, wait for it. The result does not depend on the time.
    ///   - onRead: called when the blob has been read and verified, before the layer waits for its completion.
    /// - Returns: the proof, after the last byte was read and both digests matched.
    package func apply(
        _ step: LayerStep, to directory: Directory, over lower: Promise<LowerOutcome>,
        progress: @escaping Progress = { _ in }, onRead: @escaping @Sendable () -> Void = {}
    ) throws(LayerFailure) -> AppliedLayer {
        let found = try applyConfined(
            step.descriptor, expecting: step.diffID, directory, lower, progress, onRead)
        return try AppliedLayer(step: step, found)
    }

    /// Applies one layer to a merged tree, which contains all layers below.
    ///
    /// - Returns: as `apply(_:to:over:)`.
    package func apply(
        _ step: LayerStep, into tree: Directory, progress: @escaping Progress = { _ in },
        onRead: @escaping @Sendable () -> Void = {}
    ) throws(LayerFailure) -> AppliedLayer {
        do {
            // The tree of the lowest layer is a new empty directory, whose metadata the layer must not take over.
            let lower = LowerView(step.parent == nil ? [] : [tree], marks)
            return try tree.withStagedLayer(mergedOver: nil, marks, check: cancellation.check) { layer in
                try apply(step, to: layer, over: Promise(lower), progress: progress, onRead: onRead)
            }
        } catch {
            throw LayerFailure.wrapping(error)
        }
    }

    /// Applies a layer on a new thread that is confined to the directory: a thread cannot undo Landlock's restrictions.
    ///
    /// - Parameters:
    ///   - expected: the diff ID that the layer must have; nil if it is unknown.
    ///   - plainRoot: metadata of the directory itself, if neither an entry nor a layer below has any.
    func applyConfined(
        _ descriptor: Descriptor, expecting expected: DiffID?, _ directory: Directory,
        _ lower: Promise<LowerOutcome>, _ progress: @escaping Progress,
        _ onRead: @escaping @Sendable () -> Void = {}, plainRoot: Metadata = .implicit
    ) throws(LayerFailure) -> UnverifiedLayer {
        do {
            return try WorkerThread {
                try Landlock.confine(to: directory)
                return try run(descriptor, expected, directory, lower, progress, onRead, plainRoot)
            }.join()
        } catch {
            throw LayerFailure.wrapping(error)
        }
    }

    private func run(
        _ descriptor: Descriptor, _ expected: DiffID?, _ directory: Directory,
        _ lower: Promise<LowerOutcome>, _ progress: @escaping Progress, _ onRead: () -> Void,
        _ plainRoot: Metadata
    ) throws -> UnverifiedLayer {
        var window = sharedWindow
        var content: LayerContent?
        let format = DirectorySink.Format(whiteouts: form, marks: marks, plainRoot: plainRoot)
        var passes = LayerPasses(budget)
        return try passes.run { pass -> LayerInterpreter<DirectorySink>? in
            let sink = DirectorySink(
                directory, over: lower, format, account: pass.account, cancellation: cancellation,
                digests: keepsDigests ? ContentDigests() : nil,
                earlyFinalizationInterval: earlyFinalizationInterval)
            var interpreter = LayerInterpreter(pass, into: sink)
            content = try read(
                descriptor, expecting: expected, into: &interpreter, pass.account, over: lower,
                window: &window, progress)
            if content == nil { return nil }
            onRead()
            return interpreter
        } readAccounts: { interpreter in
            try interpreter.sink.readAccounts()
        } finish: { interpreter in
            try interpreter.sink.finish()
            guard let content else { throw InternalError("a layer was completed before it was read") }
            return UnverifiedLayer(content, by: interpreter, digests: interpreter.sink.digests)
        } undo: {
            try directory.removeContents(check: cancellation.check)
        }
    }

    /// Reads a layer's blob once, into an interpreter.
    ///
    /// - Parameters:
    ///   - window: largest window of the decompressor. It is raised if the layer needs a larger one.
    ///   - copy: receives the tar; nil if it is only hashed.
    /// - Returns: nil if the layer has to be read again with the larger window: then the layers below are complete.
    func read(
        _ descriptor: Descriptor, expecting expected: DiffID?,
        into interpreter: inout LayerInterpreter<some EntrySink>, _ account: Budget.Account,
        over lower: Promise<LowerOutcome>, window: inout Int, copy: LayerStream.TarCopy? = nil,
        _ progress: @escaping Progress
    ) throws -> LayerContent? {
        let stream = LayerStream(
            descriptor, expecting: expected, from: blobs, account, cancellation: cancellation, window: window,
            blockSize: blockSize, copy: copy,
            check: { () throws(Cancelled) in
                // The layer is useless if a layer below has failed.
                if case .failed = lower.value { throw Cancelled(.failure) }
            })
        do {
            return try stream.read(into: &interpreter, progress)
        } catch CompressionFailure.windowTooLarge where window < Decompressor.defaultMaximumWindow {
            _ = try lower.wait().view()
            window = Decompressor.defaultMaximumWindow
            return nil
        }
    }
}
