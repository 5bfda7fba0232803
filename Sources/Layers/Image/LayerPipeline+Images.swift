internal import Archive
internal import Erofs
internal import ErofsFiles
package import Kernel
package import OCI
package import Streams

/// A layer that was written into an EROFS image.
package struct WrittenImage: Sendable {
    package let layer: AppliedLayer
    /// The image, open for reading.
    package let image: LayerImage
    /// Bytes of the image.
    package let size: Int64
}

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
    ) throws(LayerFailure) -> WrittenImage {
        let store = FileStore(file)
        do {
            let (found, length) = try WorkerThread {
                try Landlock.confine(to: directory)
                return try write(step, to: store, directory, lower, progress, onRead)
            }.join()
            return WrittenImage(
                layer: try AppliedLayer(step: step, found), image: try LayerImage(store.reopened()),
                size: length)
        } catch {
            throw LayerFailure.wrapping(error)
        }
    }

    private func write(
        _ step: LayerStep, to store: FileStore, _ directory: Directory, _ lower: Promise<LowerOutcome>,
        _ progress: @escaping Progress, _ onRead: () -> Void
    ) throws -> (UnverifiedLayer, size: Int64) {
        var window = sharedWindow
        var content: LayerContent?
        var passes = LayerPasses(budget)
        let copy: LayerStream.TarCopy = { bytes, offset in
            try store.write(bytes, at: Int64(ErofsWriter.tarOffset) + offset)
        }
        return try passes.run { pass -> LayerInterpreter<ImageSink>? in
            let output = ImageSink.Output(
                try ErofsWriter(
                    .tarBacked, uuid: step.diffID.imageID, image: store,
                    makeScratch: { SpillingStore(in: directory) }))
            let sink = ImageSink(output, over: lower, account: pass.account, cancellation: cancellation)
            var interpreter = LayerInterpreter(pass, into: sink)
            content = try read(
                step.descriptor, expecting: step.diffID, into: &interpreter, pass.account, over: lower,
                window: &window, copy: copy, progress)
            if content == nil { return nil }
            onRead()
            return interpreter
        } readAccounts: { interpreter in
            try interpreter.sink.finish()
            guard let content else { throw InternalError("a layer was completed before it was read") }
            _ = try interpreter.sink.complete(tarLength: content.size)
            let image = try LayerImage(store.reopened())
            return try ImageAccounts(of: try interpreter.sink.lowerView().adding(topLayer: image))
        } finish: { interpreter in
            try interpreter.sink.finish()
            guard let content else { throw InternalError("a layer was completed before it was read") }
            let size = try interpreter.sink.complete(tarLength: content.size)
            return (UnverifiedLayer(content, by: interpreter, digests: nil), size)
        } undo: {
            try store.truncate()
        }
    }
}

extension DiffID {
    /// The UUID of the image of a layer: the first 16 bytes of the digest.
    fileprivate var imageID: [UInt8] {
        let digits = Array(digest.hex.utf8.prefix(32))
        return stride(from: 0, to: digits.count, by: 2).compactMap {
            UInt8(String(decoding: digits[$0...$0 + 1], as: UTF8.self), radix: 16)
        }
    }
}
