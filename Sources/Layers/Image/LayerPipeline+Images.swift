internal import Archive
internal import Erofs
internal import ErofsFiles
package import Kernel
package import OCI
package import Streams

extension LayerPipeline {
    /// Writes one layer into an empty file, which becomes its image.
    ///
    /// - Parameters:
    ///   - file: open for reading and writing.
    ///   - directory: for scratch files.
    ///   - lower: as in `apply(_:to:over:)`.
    ///   - onRead: as in `apply(_:to:over:)`.
    /// - Returns: the proof, after the last byte was read and both digests matched. The image is valid only then.
    package func write(
        _ step: LayerStep, to file: consuming File, scratch directory: Directory,
        over lower: Promise<LowerOutcome>, progress: @escaping Progress = { _ in },
        onRead: @escaping @Sendable () -> Void = {}
    ) throws(LayerFailure) -> AppliedLayer {
        let store = FileStore(file)
        do {
            let found = try writeConfined(
                step.descriptor, expecting: step.diffID, to: store, directory, lower, progress, onRead)
            return try AppliedLayer(step: step, found)
        } catch {
            throw LayerFailure.wrapping(error)
        }
    }

    /// Writes a layer whose diff ID is unknown into an empty file, which becomes its image.
    ///
    /// - Parameters: as in `write(_:to:scratch:over:)`.
    package func write(
        _ descriptor: Descriptor, to file: consuming File, scratch directory: Directory,
        over lower: LowerView, progress: @escaping Progress = { _ in }
    ) throws(LayerFailure) -> UnverifiedLayer {
        let store = FileStore(file)
        do {
            return try writeConfined(
                descriptor, expecting: nil, to: store, directory, Promise(lower), progress)
        } catch {
            throw LayerFailure.wrapping(error)
        }
    }

    /// As `applyConfined`.
    private func writeConfined(
        _ descriptor: Descriptor, expecting expected: DiffID?, to store: FileStore, _ directory: Directory,
        _ lower: Promise<LowerOutcome>, _ progress: @escaping Progress,
        _ onRead: @escaping @Sendable () -> Void = {}
    ) throws -> UnverifiedLayer {
        try WorkerThread {
            try Landlock.confine(to: directory)
            return try write(descriptor, expected, to: store, directory, lower, progress, onRead)
        }.join()
    }

    private func write(
        _ descriptor: Descriptor, _ expected: DiffID?, to store: FileStore, _ directory: Directory,
        _ lower: Promise<LowerOutcome>, _ progress: @escaping Progress, _ onRead: () -> Void
    ) throws -> UnverifiedLayer {
        var window = sharedWindow
        var content: LayerContent?
        var passes = LayerPasses(budget)
        let copy: LayerStream.TarCopy = { bytes, offset in
            try store.write(bytes, at: Int64(ErofsWriter.tarOffset) + offset)
        }
        return try passes.run { pass -> LayerInterpreter<ImageSink>? in
            let output = ImageSink.Output(
                try ErofsWriter(
                    .tarBacked, image: store, makeScratch: { SpillingStore(in: directory) }))
            let sink = ImageSink(output, over: lower, account: pass.account, cancellation: cancellation)
            var interpreter = LayerInterpreter(pass, into: sink)
            content = try read(
                descriptor, expecting: expected, into: &interpreter, pass.account, over: lower,
                window: &window, copy: copy, progress)
            if content == nil { return nil }
            onRead()
            return interpreter
        } readAccounts: { interpreter in
            _ = try complete(&interpreter, content)
            let image = try LayerImage(store.reopened())
            return try ImageAccounts(of: try interpreter.sink.lowerView().adding(topLayer: image))
        } finish: { interpreter in
            UnverifiedLayer(try complete(&interpreter, content), by: interpreter, digests: nil)
        } undo: {
            try store.truncate()
        }
    }

    /// Completes the image of a layer that was read.
    private func complete(
        _ interpreter: inout LayerInterpreter<ImageSink>, _ content: LayerContent?
    ) throws -> LayerContent {
        try interpreter.sink.finish()
        guard let content else { throw InternalError("a layer was completed before it was read") }
        try interpreter.sink.complete(of: content)
        return content
    }
}
