internal import Archive
internal import Compression
package import Kernel
package import Layout
package import OCI
package import Streams
internal import Synchronization

/// Reads a blob once and does everything with it in that one pass: one thread reads, hashes and decompresses
/// into a ring, a second hashes the tar, the caller's parses and writes.
///
/// One layer at a time.
package struct LayerPipeline: Sendable {
    /// Bytes of compressed input that have been read of the layer so far.
    package typealias Progress = @Sendable (Int64) -> Void

    private let layout: ImageLayout
    private let cancellation: Cancellation

    package init(_ layout: ImageLayout, cancellation: Cancellation) {
        self.layout = layout
        self.cancellation = cancellation
    }

    private enum Reader {
        static let archive = 0
        static let digest = 1
        static let count = 2
    }

    /// Applies one layer to a directory that holds nothing but what Prepare put there.
    ///
    /// - Parameter lower: the layers below.
    /// - Returns: the proof, after the last byte has been read and both digests fit.
    package func apply(
        _ step: LayerStep, to directory: Directory, over lower: LowerView, progress: @escaping Progress
    ) throws(LayerFailure) -> AppliedLayer {
        do {
            var known = Set<[FileName]>()
            for _ in 1...Self.maximumPasses {
                switch try run(step, directory, lower, known, progress) {
                case .applied(let layer): return layer
                case .misread(let paths):
                    known.formUnion(paths)
                    try directory.removeContents()
                }
            }
            throw LayerFailure(.refused("its whiteouts and the symlinks below hide each other without end"))
        } catch {
            throw LayerFailure.wrapping(error, entry: nil)
        }
    }

    /// One is the rule. A second is for a layer that goes through a lower symlink first and hides it later; more are
    /// for one that does so in several steps.
    private static let maximumPasses = 16

    private enum Pass {
        case applied(AppliedLayer)
        /// The layer is what it should be, but these lower symlinks must not be followed.
        case misread(Set<[FileName]>)
    }

    private func run(
        _ step: LayerStep, _ directory: Directory, _ lower: LowerView, _ known: Set<[FileName]>,
        _ progress: @escaping Progress
    ) throws -> Pass {
        let ring = BlockRing(readers: Reader.count)
        let producer = Producer(step.descriptor, layout, ring, cancellation, progress)
        let reading = try WorkerThread { try producer.run() }
        let hashing: WorkerThread<Digest>
        do {
            hashing = try WorkerThread {
                var digester = Digester(step.diffID.digest.algorithm)
                ring.consume(reader: Reader.digest) { digester.update($0) }
                return digester.finish()
            }
        } catch {
            ring.cancel()
            try reading.join()
            throw error
        }

        var applier = LayerApplier(directory: directory, lower: lower, known: known)
        var failure: LayerFailure?
        do {
            try applyEntries(of: ring, with: &applier)
        } catch {
            failure = error
            if error.isAboutContent { producer.judgeBlob() }
            ring.cancel()
        }
        // Both are joined whatever happened: they use the ring and the blob. What the reader found is the
        // reason behind what the applier found.
        let read = Result { try reading.join() }
        let diffID = DiffID(try hashing.join())
        try read.get()
        if let failure { throw failure }
        guard diffID == step.diffID else {
            throw LayerFailure(.wrongDiffID(expected: step.diffID, found: diffID))
        }
        if !applier.misread.isEmpty { return .misread(applier.misread) }
        return .applied(AppliedLayer(step: step, warnings: applier.warnings, entries: applier.entries))
    }

    private func applyEntries(of ring: BlockRing, with applier: inout LayerApplier) throws(LayerFailure) {
        var entry: EntryPath?
        do {
            var reader = try LayerReader(ring, reader: Reader.archive)
            while let next = try reader.next() {
                entry = next.path
                try cancellation.check()
                try applier.apply(next, from: &reader)
            }
            entry = nil
            try reader.finish()
            if applier.misread.isEmpty { try applier.finish() }
        } catch {
            throw LayerFailure.wrapping(error, entry: entry?.description)
        }
    }
}

/// The first stage: a blob's bytes, hashed and decompressed, into the ring.
private final class Producer: Sendable {
    /// Compressed bytes read at once.
    private static let chunk = 1 << 18

    private let descriptor: Descriptor
    private let layout: ImageLayout
    private let ring: BlockRing
    private let cancellation: Cancellation
    private let progress: LayerPipeline.Progress
    private let mustJudge = Atomic<Bool>(false)

    init(
        _ descriptor: Descriptor, _ layout: ImageLayout, _ ring: BlockRing, _ cancellation: Cancellation,
        _ progress: @escaping LayerPipeline.Progress
    ) {
        self.descriptor = descriptor
        self.layout = layout
        self.ring = ring
        self.cancellation = cancellation
        self.progress = progress
    }

    /// Asks, before the ring is cancelled, for the blob's verdict all the same: a damaged blob explains a
    /// malformed archive.
    func judgeBlob() { mustJudge.store(true, ordering: .releasing) }

    /// - Throws: `LayoutFailure` about the blob, which goes before a `CompressionFailure` that it explains;
    ///   `Cancelled`.
    func run() throws {
        do {
            try produce()
        } catch {
            ring.cancel()
            throw error
        }
    }

    private func produce() throws {
        var blob = try layout.open(descriptor)
        var corruption: CompressionFailure?
        var isWanted = true
        do {
            isWanted = try decompress(&blob)
        } catch let failure as CompressionFailure {
            corruption = failure
            ring.cancel()
        }
        if isWanted, corruption == nil { ring.finish() }
        if isWanted || mustJudge.load(ordering: .acquiring) { try blob.finish() }
        if let corruption { throw corruption }
    }

    /// - Returns: false if the ring was cancelled before the end.
    private func decompress(_ blob: inout VerifiedBlob) throws -> Bool {
        var input = [UInt8]()
        try blob.read(into: &input, limit: Self.chunk)
        var decompressor = try Decompressor(try input.withRawSpan(CompressionFormat.init(sniffing:)))
        var used = 0
        while !input.isEmpty {
            try cancellation.check()
            let isWanted = try ring.produce { block throws in
                var filled = 0
                while filled < block.byteCount, !input.isEmpty {
                    let step = try input.withRawSpan { span throws(CompressionFailure) in
                        try decompressor.step(span.extracting(droppingFirst: used), into: &block, at: filled)
                    }
                    filled += step.produced
                    used += step.consumed
                    if used == input.count, filled < block.byteCount {
                        try blob.read(into: &input, limit: Self.chunk)
                        used = 0
                        progress(blob.position)
                    }
                }
                return filled
            }
            if !isWanted { return false }
        }
        try decompressor.finish()
        return true
    }
}
