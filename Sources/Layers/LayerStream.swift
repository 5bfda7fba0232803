internal import Archive
internal import Compression
internal import Kernel
internal import Layout
internal import OCI
internal import Streams
internal import Synchronization

/// Receives the entries of a layer in the order of the archive.
protocol LayerVisitor {
    mutating func take(_ entry: Entry, from reader: inout LayerReader) throws
    /// Called after the last entry.
    mutating func endEntries() throws
}

/// One pass over a layer's blob: one thread reads, hashes and decompresses into a ring, a second hashes the tar, and
/// the caller's thread parses the tar and passes the entries to a visitor. The entries are verified only when `read`
/// returns.
struct LayerStream {
    /// Called with the number of compressed bytes of the layer that have been read so far.
    typealias Progress = @Sendable (Int64) -> Void

    private let descriptor: Descriptor
    private let expected: DiffID?
    private let blobs: any BlobSource
    private let account: Budget.Account
    private let window: Int
    private let blockSize: Int
    private let cancellation: Cancellation
    private let copy: TarCopy?
    private let check: @Sendable () throws(Cancelled) -> Void

    /// Receives the tar in order, each piece with its offset, on the thread that hashes it.
    typealias TarCopy = @Sendable (RawSpan, _ offset: Int64) throws -> Void

    /// - Parameters:
    ///   - expected: the diff ID that the tar must have; nil if it is unknown.
    ///   - copy: receives the tar; nil if it is only hashed. An error that it throws ends the pass.
    ///   - check: called between two blocks; throws if the layer is no longer needed.
    init(
        _ descriptor: Descriptor, expecting expected: DiffID?, from blobs: any BlobSource,
        _ account: Budget.Account,
        cancellation: Cancellation, window: Int = Decompressor.defaultMaximumWindow,
        blockSize: Int = BlockRing.defaultBlockSize,
        copy: TarCopy? = nil,
        check: @escaping @Sendable () throws(Cancelled) -> Void = {}
    ) {
        self.descriptor = descriptor
        self.expected = expected
        self.blobs = blobs
        self.account = account
        self.window = window
        self.blockSize = blockSize
        self.cancellation = cancellation
        self.copy = copy
        self.check = check
    }

    private enum Reader {
        static let archive = 0
        static let digest = 1
        static let count = 2
    }

    /// Passes all entries to the visitor, and verifies the blob and the tar.
    @discardableResult
    func read(into visitor: inout some LayerVisitor, _ progress: @escaping Progress) throws -> LayerContent {
        let ring = BlockRing(readers: Reader.count, blockSize: blockSize)
        let producer = Producer(
            descriptor, blobs, ring, account, window: window, progress
        ) { [cancellation, check] () throws(Cancelled) in
            try cancellation.check()
            try check()
        }
        let hashing = try WorkerThread { [expected, copy] in
            var digester = Digester(expected?.digest.algorithm ?? .sha256)
            // Its errors explain all others: it cancels the ring.
            var failure: (any Error)?
            do {
                try ring.consume(reader: Reader.digest) { block in
                    try copy?(block, digester.count)
                    digester.update(block)
                }
            } catch {
                failure = error
                ring.cancel()
            }
            return Result {
                if let failure { throw failure }
                return LayerContent(diffID: DiffID(digester.finish()), size: digester.count)
            }
        }
        let reading: WorkerThread<Void>
        do {
            // Starts last, because the start of a thread can fail: this one may wait for an archive that still
            // arrives, and then could not be joined.
            reading = try WorkerThread { try producer.run() }
        } catch {
            ring.cancel()
            _ = try hashing.join()
            throw error
        }

        let visited = Result { try visitEntries(of: ring, with: &visitor) }
        if case .failure(let failure) = visited {
            if (failure as? LayerFailure)?.isAboutContent == true { producer.requireVerification() }
            ring.cancel()
        }
        // Both are joined in any case, because they use the ring and the blob. An error of the reading thread
        // explains that of the visitor, so that it is thrown first.
        let read = Result { try reading.join() }
        let hashed = try hashing.join()
        let content = try hashed.get()
        try read.get()
        try visited.get()
        if let expected { try content.check(expected) }
        return content
    }

    private func visitEntries(of ring: BlockRing, with visitor: inout some LayerVisitor) throws {
        var entry: Entry?
        do {
            var reader = try LayerReader(ring, reader: Reader.archive)
            while let next = try reader.next() {
                entry = next
                try cancellation.check()
                try visitor.take(next, from: &reader)
            }
            entry = nil
            try reader.finish()
            try visitor.endEntries()
        } catch let assumption as StaleAssumption {
            throw assumption
        } catch {
            throw LayerFailure.wrapping(error).located(at: entry)
        }
    }
}

extension LayerStream {
    /// Creates the stream of a layer of an image, whose config has its diff ID.
    init(
        _ step: LayerStep, of blobs: any BlobSource, _ account: Budget.Account, cancellation: Cancellation
    ) {
        self.init(
            step.descriptor, expecting: step.diffID, from: blobs, account, cancellation: cancellation)
    }
}

/// Reads a blob, hashes and decompresses it, and writes the tar into the ring.
private final class Producer: Sendable {
    /// Compressed bytes read at once.
    private static let chunk = 1 << 18

    private let descriptor: Descriptor
    private let blobs: any BlobSource
    private let ring: BlockRing
    private let account: Budget.Account
    private let window: Int
    private let check: @Sendable () throws(Cancelled) -> Void
    private let progress: LayerStream.Progress
    private let mustVerify = Atomic<Bool>(false)

    init(
        _ descriptor: Descriptor, _ blobs: any BlobSource, _ ring: BlockRing, _ account: Budget.Account,
        window: Int, _ progress: @escaping LayerStream.Progress,
        check: @escaping @Sendable () throws(Cancelled) -> Void
    ) {
        self.descriptor = descriptor
        self.blobs = blobs
        self.ring = ring
        self.account = account
        self.window = window
        self.progress = progress
        self.check = check
    }

    /// Has the blob verified to its end although the ring is about to be cancelled: a damaged blob explains a malformed
    /// archive.
    func requireVerification() { mustVerify.store(true, ordering: .releasing) }

    /// - Throws: `LayoutFailure` of the blob, which takes precedence over a `CompressionFailure` that it explains;
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
        var blob = try blobs.open(descriptor)
        var corruption: CompressionFailure?
        var shouldContinue = true
        do {
            shouldContinue = try decompress(&blob)
        } catch CompressionFailure.windowTooLarge where window < Decompressor.defaultMaximumWindow {
            // The pipeline reads the blob again with a larger window.
            throw CompressionFailure.windowTooLarge(limit: window)
        } catch let failure as CompressionFailure {
            corruption = failure
            ring.cancel()
        }
        if shouldContinue, corruption == nil { ring.finish() }
        if shouldContinue || mustVerify.load(ordering: .acquiring) { try blob.finish() }
        if let corruption { throw corruption }
    }

    /// - Returns: false if the ring was cancelled before the end.
    private func decompress(_ blob: inout VerifiedBlob) throws -> Bool {
        var input = [UInt8]()
        try blob.read(into: &input, limit: Self.chunk)
        let format = try input.withRawSpan(CompressionFormat.init(sniffing:))
        var decompressor = try Decompressor(format, maximumWindow: window)
        var used = 0
        while !input.isEmpty {
            try check()
            let shouldContinue = try ring.produce { block throws in
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
                try account.decompress(Int64(filled))
                return filled
            }
            if !shouldContinue { return false }
        }
        try decompressor.finish()
        return true
    }
}
