internal import Synchronization

/// What an image may take, over all layers together, so that a hostile one fails instead of the host.
package final class Budget: Sendable {
    package struct Limits: Sendable {
        /// Bytes of file content; holes do not count.
        package var bytes: Int64
        /// Whether `bytes` is what the store has free, and not what somebody asked for.
        package var isFreeSpace: Bool
        package var entries: Int64
        /// Bytes of the uncompressed layers.
        package var uncompressed: Int64
        /// Bytes for what has to be remembered until the end of a layer, for each.
        package var memory: Int64
        /// What the ways to all entries may take, which bounds the time as the others bound the disk and the memory. A step is a
        /// name that is looked up, of a path or of a symlink's target; 16 bytes of a path; or a directory that is opened once
        /// more, 16 levels below the root or fewer.
        package var steps: Int64

        /// - Parameter steps: nil for 16 an entry, and no fewer than `leastSteps`.
        package init(
            bytes: Int64 = .max, isFreeSpace: Bool = false, entries: Int64 = .max, uncompressed: Int64 = .max,
            memory: Int64 = defaultMemory, steps: Int64? = nil
        ) {
            self.bytes = bytes
            self.isFreeSpace = isFreeSpace
            self.entries = entries
            self.uncompressed = uncompressed
            self.memory = memory
            let (most, isEndless) = entries.multipliedReportingOverflow(by: 16)
            self.steps = steps ?? (isEndless ? .max : max(most, Self.leastSteps))
        }

        /// What 20 million entries in 15 directories each take: minutes.
        package static let leastSteps: Int64 = 320_000_000

        /// Some 150,000 whiteouts, or directories that cannot be completed early: far more than any image has.
        package static let defaultMemory: Int64 = 48 << 20
    }

    /// Bytes that layers may remember together while those below them are not there. When there is more, they wait in the
    /// middle until it is their turn.
    package static let defaultSharedMemory: Int64 = 16 << 20

    /// More than a limit.
    package enum Excess: Error, Equatable, Sendable {
        case bytes(limit: Int64)
        case freeSpace(limit: Int64)
        case entries(limit: Int64)
        case uncompressed(limit: Int64)
        case memory(limit: Int64)
        case steps(limit: Int64)
    }

    private let limits: Limits
    private let sharedMemory: Int64
    private let bytes = Atomic<Int64>(0)
    private let entries = Atomic<Int64>(0)
    private let uncompressed = Atomic<Int64>(0)
    private let memory = Atomic<Int64>(0)
    private let digests = Atomic<Int64>(0)
    private let steps = Atomic<Int64>(0)

    /// Digests of files that are kept at a time, over all layers: 42 MB.
    static let maximumDigests: Int64 = 1 << 19

    package init(_ limits: Limits = Limits(), sharedMemory: Int64 = defaultSharedMemory) {
        self.limits = limits
        self.sharedMemory = sharedMemory
    }

    /// Bytes that have been written, by layers that stay or are being applied.
    package var written: Int64 { bytes.load(ordering: .relaxed) }

    /// What one pass over a layer spends; given back when nobody holds it any more, unless it is kept.
    final class Account: Sendable {
        private let budget: Budget
        private let bytes = Atomic<Int64>(0)
        private let entries = Atomic<Int64>(0)
        private let uncompressed = Atomic<Int64>(0)
        private let memory = Atomic<Int64>(0)
        private let digests = Atomic<Int64>(0)

        init(_ budget: Budget) { self.budget = budget }

        deinit {
            budget.bytes.subtract(bytes.load(ordering: .relaxed), ordering: .relaxed)
            budget.entries.subtract(entries.load(ordering: .relaxed), ordering: .relaxed)
            budget.uncompressed.subtract(uncompressed.load(ordering: .relaxed), ordering: .relaxed)
            budget.memory.subtract(memory.load(ordering: .relaxed), ordering: .relaxed)
            budget.digests.subtract(digests.load(ordering: .relaxed), ordering: .relaxed)
        }

        /// The layer stays, and what it has taken.
        func keep() {
            bytes.store(0, ordering: .relaxed)
            entries.store(0, ordering: .relaxed)
            uncompressed.store(0, ordering: .relaxed)
        }

        func write(_ count: Int64) throws(Excess) {
            guard Self.spend(count, of: limits.bytes, bytes, budget.bytes) else {
                throw limits.isFreeSpace ? .freeSpace(limit: limits.bytes) : .bytes(limit: limits.bytes)
            }
        }

        func addEntry() throws(Excess) {
            guard Self.spend(1, of: limits.entries, entries, budget.entries) else {
                throw .entries(limit: limits.entries)
            }
        }

        /// Counts steps (`Limits.steps`). Time is not given back.
        func step(_ count: Int64) throws(Excess) {
            guard budget.steps.add(count, ordering: .relaxed).newValue <= limits.steps else {
                throw .steps(limit: limits.steps)
            }
        }

        func decompress(_ count: Int64) throws(Excess) {
            guard Self.spend(count, of: limits.uncompressed, uncompressed, budget.uncompressed) else {
                throw .uncompressed(limit: limits.uncompressed)
            }
        }

        func remember(_ count: Int64) throws(Excess) {
            budget.memory.add(count, ordering: .relaxed)
            guard memory.add(count, ordering: .relaxed).newValue <= limits.memory else {
                throw .memory(limit: limits.memory)
            }
        }

        /// Whether all layers together remember so much that only the lowest should go on.
        var isCrowded: Bool { budget.memory.load(ordering: .relaxed) > budget.sharedMemory }

        func forget(_ count: Int64) {
            memory.subtract(count, ordering: .relaxed)
            budget.memory.subtract(count, ordering: .relaxed)
        }

        /// - Returns: whether there is room for one more.
        func keepDigest() -> Bool {
            Self.spend(1, of: Budget.maximumDigests, digests, budget.digests)
        }

        private var limits: Limits { budget.limits }

        private static func spend(
            _ count: Int64, of limit: Int64, _ own: borrowing Atomic<Int64>, _ all: borrowing Atomic<Int64>
        ) -> Bool {
            own.add(count, ordering: .relaxed)
            return all.add(count, ordering: .relaxed).newValue <= limit
        }
    }
}
