internal import Kernel
internal import Synchronization

/// A bounded queue of blocks between one producer and several readers, each of which sees every byte.
///
/// A block is free again when all readers have passed it, so the slowest reader sets the pace and memory is
/// constant. The producer calls `produce` and `finish`; reader `n` calls `next(reader: n)` or
/// `consume(reader: n)`, each from one thread. Anyone may `cancel`: everybody who waits then returns at once.
package final class BlockRing: @unchecked Sendable {
    /// A quarter of a mebibyte a block, so that one is still in the processor's cache when it is read: larger is no faster,
    /// smaller costs calls. Sixteen keep three threads busy.
    package static let defaultBlockSize = 1 << 18
    package static let defaultBlockCount = 16

    private let blockSize: Int
    private let memory: [UnsafeMutableRawBufferPointer]
    private let monitor: Monitor

    /// Who waits: the producer, or a reader.
    private static let producer = 0
    private static func group(ofReader reader: Int) -> Int { 1 + reader }

    // Guarded by `monitor`.
    private var lengths: [Int]
    /// Blocks ever filled.
    private var filled = 0
    /// Blocks that each reader is done with.
    private var passed: [Int]
    private var isFinished = false
    private var isCancelled = false
    /// Whether each reader holds the block that it was given last.
    private var holding: [Bool]

    package init(readers: Int, blockSize: Int = defaultBlockSize, blockCount: Int = defaultBlockCount) {
        self.blockSize = blockSize
        monitor = Monitor(groups: 1 + readers)
        memory = (0..<blockCount).map { _ in .allocate(byteCount: blockSize, alignment: 4096) }
        lengths = [Int](repeating: 0, count: blockCount)
        passed = [Int](repeating: 0, count: readers)
        holding = [Bool](repeating: false, count: readers)
    }

    deinit { for block in memory { block.deallocate() } }

    /// Waits for a free block and lends it to `fill`, which says how many bytes it wrote; 0 adds no block.
    ///
    /// - Returns: false if the ring was cancelled; then nothing more need be produced.
    package func produce<Failure: Error>(
        _ fill: (inout MutableRawSpan) throws(Failure) -> Int
    ) throws(Failure) -> Bool {
        var needed = 1
        let slot: Int? = monitor.wait(in: Self.producer) {
            if isCancelled { return .some(nil) }
            if free >= needed { return .some(filled % memory.count) }
            // Once it had to wait, it is not worth being woken for a single block.
            needed = worthWaking
            return nil
        }
        guard let slot else { return false }
        var span = MutableRawSpan(_unsafeBytes: memory[slot])
        let length = try fill(&span)
        guard length > 0 else { return true }
        monitor.changeQuietly {
            lengths[slot] = length
            filled += 1
            for (reader, passed) in passed.enumerated() where passed == filled - 1 {
                monitor.wake(Self.group(ofReader: reader))
            }
        }
        return true
    }

    /// Blocks that nobody has still to read.
    private var free: Int { memory.count - filled + (passed.min() ?? filled) }
    private var worthWaking: Int { (memory.count + 1) / 2 }

    /// No more blocks will come.
    package func finish() { monitor.change { isFinished = true } }

    /// Ends the stream for everybody now.
    package func cancel() { monitor.change { isCancelled = true } }

    /// The next block, valid until this reader's next call; nil at the end of the stream and after `cancel`.
    package func next(reader: Int) -> UnsafeRawBufferPointer? {
        let block: (slot: Int, length: Int)? = monitor.wait(in: Self.group(ofReader: reader)) {
            if holding[reader] {
                holding[reader] = false
                passed[reader] += 1
                if free >= worthWaking { monitor.wake(Self.producer) }
            }
            if isCancelled { return .some(nil) }
            if passed[reader] < filled {
                holding[reader] = true
                let slot = passed[reader] % memory.count
                return .some((slot, lengths[slot]))
            }
            return isFinished ? .some(nil) : nil
        }
        guard let block else { return nil }
        return UnsafeRawBufferPointer(rebasing: memory[block.slot][..<block.length])
    }

    /// Lends each remaining block to `body`, in order, until the end of the stream.
    package func consume<Failure: Error>(reader: Int, _ body: (RawSpan) throws(Failure) -> Void)
        throws(Failure)
    {
        while let block = next(reader: reader) { try body(block.bytes) }
    }

    /// Whether the stream ended because somebody cancelled it.
    package var wasCancelled: Bool { monitor.change { isCancelled } }
}
