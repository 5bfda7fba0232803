internal import Archive
internal import Compression
package import Kernel
package import Layout
package import OCI
package import Streams

/// Reads a blob once and does everything with it in that one pass: one thread reads, hashes and decompresses
/// into a ring, a second hashes the tar, a third parses and writes.
///
/// Any number of layers at a time, each into its own directory.
package struct LayerPipeline: Sendable {
    /// Bytes of compressed input that have been read of the layer so far.
    package typealias Progress = @Sendable (Int64) -> Void

    private let blobs: any BlobSource
    private let form: WhiteoutForm
    let marks: OverlayMarks
    private let budget: Budget
    private let cancellation: Cancellation
    private let layersAtOnce: Int
    private let keepsDigests: Bool
    private let settlingInterval: Int

    /// How many directories of a layer are remembered before some are completed early: more than almost all
    /// layers have, in 20 MB.
    package static let defaultSettlingInterval = 65_536

    /// - Parameters:
    ///   - form: how the layers' directories say that they hide something.
    ///   - marks: the attributes that they and those below them say it with.
    ///   - layersAtOnce: how many will be applied at a time, which share the memory.
    ///   - keepsDigests: whether an applied layer is to know the digests of its files.
    package init(
        _ blobs: any BlobSource, form: WhiteoutForm, marks: OverlayMarks = .own, budget: Budget,
        cancellation: Cancellation, layersAtOnce: Int = 1, keepsDigests: Bool = false,
        settlingInterval: Int = defaultSettlingInterval
    ) {
        self.blobs = blobs
        self.form = form
        self.marks = marks
        self.budget = budget
        self.cancellation = cancellation
        self.layersAtOnce = layersAtOnce
        self.keepsDigests = keepsDigests
        self.settlingInterval = settlingInterval
    }

    /// Bytes of the blocks between the threads, for all layers at once.
    private static let blockMemory = 24 << 20

    /// As large as it may be, and not so small that the threads only wait for each other.
    private var blockSize: Int {
        let share = Self.blockMemory / layersAtOnce / BlockRing.defaultBlockCount
        return min(BlockRing.defaultBlockSize, max(1 << 16, share & ~0xFFF))
    }

    /// Bytes of windows, for all layers at once: what zstd's level 19 needs for four.
    private static let windowMemory = 32 << 20

    /// A layer that needs a larger window waits until it is the lowest.
    private var sharedWindow: Int {
        layersAtOnce == 1 ? Decompressor.defaultMaximumWindow : max(1 << 20, Self.windowMemory / layersAtOnce)
    }

    /// Applies one layer to an empty directory.
    ///
    /// - Parameters:
    ///   - lower: the layers below. While they are not there the layer is applied on the assumption that nothing of
    ///     it goes through their symlinks; they are waited for where they are needed, and to complete it. The
    ///     result is the same.
    ///   - streamed: called when the blob has been read and verified, before the layers below are waited for.
    /// - Returns: the proof, after the last byte has been read and both digests fit.
    package func apply(
        _ step: LayerStep, to directory: Directory, over lower: Promise<LowerView?>,
        progress: @escaping Progress = { _ in }, streamed: @escaping @Sendable () -> Void = {}
    ) throws(LayerFailure) -> AppliedLayer {
        let found = try confined(
            step.descriptor, expecting: step.diffID, directory, lower, progress, streamed)
        return try AppliedLayer(step: step, found)
    }

    /// Applies one layer to a whole tree, which holds all layers below.
    ///
    /// - Returns: as `apply(_:to:over:)`.
    package func apply(
        _ step: LayerStep, into tree: Directory, progress: @escaping Progress = { _ in },
        streamed: @escaping @Sendable () -> Void = {}
    ) throws(LayerFailure) -> AppliedLayer {
        do {
            // Of the lowest layer the tree is an empty one that somebody made now, which nothing is taken from.
            let lower = LowerView(step.parent == nil ? [] : [tree], marks)
            return try tree.merging(over: nil, marks, isWanted: isWanted) { layer in
                try apply(step, to: layer, over: Promise(lower), progress: progress, streamed: streamed)
            }
        } catch {
            throw failure(error)
        }
    }

    var isWanted: () -> Bool { { [cancellation] in !cancellation.isCancelled } }

    /// What has ended the work: a system call that was given up says less than why it was.
    func failure(_ error: any Error) -> LayerFailure {
        do {
            if (error as? SyscallFailure)?.isCancelled == true { try cancellation.check() }
            return LayerFailure.wrapping(error)
        } catch {
            return LayerFailure.wrapping(error)
        }
    }

    /// Runs in a thread of its own, because one can never get back what it gives up.
    ///
    /// - Parameters:
    ///   - expected: what the layer's tar has to be; nil where nobody has said that.
    ///   - plainRoot: what the directory itself has, where neither an entry nor a layer below says that.
    func confined(
        _ descriptor: Descriptor, expecting expected: DiffID?, _ directory: Directory,
        _ lower: Promise<LowerView?>, _ progress: @escaping Progress,
        _ streamed: @escaping @Sendable () -> Void = {}, plainRoot: Metadata = .implicit
    ) throws(LayerFailure) -> FoundLayer {
        do {
            return try WorkerThread {
                try Landlock.confine(to: directory)
                return try run(descriptor, expected, directory, lower, progress, streamed, plainRoot)
            }.join()
        } catch {
            throw failure(error)
        }
    }

    private func run(
        _ descriptor: Descriptor, _ expected: DiffID?, _ directory: Directory,
        _ lower: Promise<LowerView?>, _ progress: @escaping Progress, _ streamed: () -> Void,
        _ plainRoot: Metadata
    ) throws -> FoundLayer {
        var window = sharedWindow
        var content: LayerContent?
        let format = DirectorySink.Format(whiteouts: form, marks: marks, plainRoot: plainRoot)
        var passes = LayerPasses(budget)
        return try passes.run { pass in
            let sink = DirectorySink(
                directory, over: lower, format, account: pass.account, cancellation: cancellation,
                digests: keepsDigests ? ContentDigests() : nil,
                earlyFinalizationInterval: settlingInterval)
            var interpreter = LayerInterpreter(pass, into: sink)
            do {
                let stream = LayerStream(
                    descriptor, expecting: expected, from: blobs, pass.account, cancellation: cancellation,
                    window: window, blockSize: blockSize
                ) { () throws(Cancelled) in
                    // A layer is of no use without those below it.
                    if case .some(.none) = lower.value { throw Cancelled(.failure) }
                }
                content = try stream.read(into: &interpreter, progress)
                streamed()
                return interpreter
            } catch CompressionFailure.windowTooLarge where window < Decompressor.defaultMaximumWindow {
                guard lower.wait() != nil else { throw Cancelled(.failure) }
                window = Decompressor.defaultMaximumWindow
                return nil
            }
        } readAccounts: { interpreter in
            try interpreter.sink.readAccounts()
        } finish: { interpreter in
            try interpreter.sink.finish()
            guard let content else { throw InternalError("a layer was finished that was not read") }
            return FoundLayer(content, by: interpreter)
        } undo: {
            try directory.removeContents(isWanted: isWanted)
        }
    }
}
