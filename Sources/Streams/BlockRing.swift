internal import Kernel
internal import Synchronization

/// A bounded queue of blocks from one producer to several readers, each of which receives every byte.
///
/// A block is reused after all readers have finished it: memory is constant, and the slowest reader limits the
/// throughput. The producer calls `produce` and `finish` on one thread; reader `n` calls `next(reader: n)` or
/// `consume(reader: n)` on one thread. Any thread may call `cancel`, which ends all waits at once.
package final class BlockRing: @unchecked Sendable {
    /// 256 KiB: a block is still in the processor's cache when it is read. Larger blocks are no faster; smaller ones
    /// cost more calls.
    package static let defaultBlockSize = 1 << 18
    /// Enough to keep three threads busy.
    package static let defaultBlockCount = 16

    private let blockSize: Int
    private let memory: [UnsafeMutableRawBufferPointer]
    private let monitor: Monitor

    /// The wait groups of the monitor: one for the producer, one for each reader.
    private static let producer = 0
    private static func group(ofReader reader: Int) -> Int { 1 + reader }

    // Protected by `monitor`.
    private var lengths: [Int]
    /// Number of blocks filled since the beginning.
    private var filled = 0
    /// Number of blocks that each reader has finished.
    private var passed: [Int]
    private var isFinished = false
    private var isCancelled = false
    /// Whether each reader still holds the block that `next` returned last.
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

    /// Waits for a free block and passes it to `fill`, which returns the number of bytes written; 0 adds no block.
    ///
    /// - Returns: false if the ring was cancelled and the producer can stop.
    package func produce<Failure: Error>(
        _ fill: (inout MutableRawSpan) throws(Failure) -> Int
    ) throws(Failure) -> Bool {
        var needed = 1
        let slot: Int? = monitor.wait(in: Self.producer) {
            if isCancelled { return .some(nil) }
            if free >= needed { return .some(filled % memory.count) }
            // A producer that had to wait is not woken for a single block.
            needed = wakeThreshold
            return nil
        }
        guard let slot else { return false }
        var span = MutableRawSpan(_unsafeBytes: memory[slot])
        let length = try fill(&span)
        guard length > 0 else { return true }
        monitor.changeWithoutWaking {
            lengths[slot] = length
            filled += 1
            for (reader, passed) in passed.enumerated() where passed == filled - 1 {
                monitor.wake(Self.group(ofReader: reader))
            }
        }
        return true
    }

    /// Number of blocks that the producer can fill.
    private var free: Int { memory.count - filled + (passed.min() ?? filled) }
    /// Number of free blocks at which a waiting producer is woken.
    private var wakeThreshold: Int { (memory.count + 1) / 2 }

    /// Marks the end of the stream: no more blocks follow.
    package func finish() { monitor.change { isFinished = true } }

    /// Ends the stream at once for the producer and all readers.
    package func cancel() { monitor.change { isCancelled = true } }

    /// Returns the next block, valid until this reader's next call; nil at the end of the stream and after `cancel`.
    package func next(reader: Int) -> UnsafeRawBufferPointer? {
        let block: (slot: Int, length: Int)? = monitor.wait(in: Self.group(ofReader: reader)) {
            if holding[reader] {
                holding[reader] = false
                passed[reader] += 1
                if free >= wakeThreshold { monitor.wake(Self.producer) }
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

    /// Passes each remaining block to `body`, in order, until the end of the stream or `cancel`.
    package func consume<Failure: Error>(reader: Int, _ body: (RawSpan) throws(Failure) -> Void)
        throws(Failure)
    {
        while let block = next(reader: reader) { try body(block.bytes) }
    }

    package var wasCancelled: Bool { monitor.change { isCancelled } }
}
