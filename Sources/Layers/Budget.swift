internal import Synchronization

/// Limits of an image, over all its layers together, so that a hostile image fails instead of the host.
package final class Budget: Sendable {
    package struct Limits: Sendable {
        /// Bytes of file content; holes do not count.
        package var bytes: Int64
        /// Whether `bytes` is the store's free space and not a limit that the user has set.
        package var isFreeSpace: Bool
        package var entries: Int64
        /// Bytes of the uncompressed layers.
        package var uncompressed: Int64
        /// Bytes of memory for state that is kept until the end of a layer, per layer.
        package var memory: Int64
        /// Bytes of memory for the names of a layer that becomes an image, per layer.
        package var names: Int64
        /// Steps of path resolution, which bound the time as the other limits bound disk and memory. Each name of a
        /// path or of a symlink's target that is looked up is a step, and so are 16 bytes of a path. Opening a
        /// directory is one step, and one more for each 16 levels of its depth.
        package var steps: Int64

        /// - Parameter steps: nil for 16 per entry, and at least `minimumSteps`.
        package init(
            bytes: Int64 = .max, isFreeSpace: Bool = false, entries: Int64 = .max, uncompressed: Int64 = .max,
            memory: Int64 = defaultMemory, names: Int64 = defaultNames, steps: Int64? = nil
        ) {
            self.bytes = bytes
            self.isFreeSpace = isFreeSpace
            self.entries = entries
            self.uncompressed = uncompressed
            self.memory = memory
            self.names = names
            let (most, isEndless) = entries.multipliedReportingOverflow(by: 16)
            self.steps = steps ?? (isEndless ? .max : max(most, Self.minimumSteps))
        }

        /// Steps of 20 million entries, each below 15 directories; they take minutes.
        package static let minimumSteps: Int64 = 320_000_000

        /// Memory of about 150,000 directories that cannot be finalized early, or 600,000 whiteouts: far more than any
        /// image has.
        package static let defaultMemory: Int64 = 48 << 20

        /// Memory of about two million names: an image is sorted at its end, and needs them all.
        package static let defaultNames: Int64 = 96 << 20
    }

    /// Bytes of memory for the state of all layers together. Above it, a layer whose lower layers are not complete
    /// waits for them before its next entry.
    package static let defaultSharedMemory: Int64 = 16 << 20

    /// The limit that was exceeded.
    package enum Excess: Error, Equatable, Sendable {
        case bytes(limit: Int64)
        case freeSpace(limit: Int64)
        case entries(limit: Int64)
        case uncompressed(limit: Int64)
        case memory(limit: Int64)
        case names(limit: Int64)
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

    /// Digests of files that are kept at the same time, over all layers: 42 MB.
    static let maximumDigests: Int64 = 1 << 19

    package init(_ limits: Limits = Limits(), sharedMemory: Int64 = defaultSharedMemory) {
        self.limits = limits
        self.sharedMemory = sharedMemory
    }

    /// Bytes written by applied layers and by layers that are being applied.
    package var written: Int64 { bytes.load(ordering: .relaxed) }

    /// Usage of one pass over a layer. The deinitializer returns it to the budget, but for what `keep` has made
    /// permanent.
    final class Account: Sendable {
        private let budget: Budget
        private let bytes = Atomic<Int64>(0)
        private let entries = Atomic<Int64>(0)
        private let uncompressed = Atomic<Int64>(0)
        private let memory = Atomic<Int64>(0)
        private let names = Atomic<Int64>(0)
        private let digests = Atomic<Int64>(0)

        init(_ budget: Budget) { self.budget = budget }

        deinit {
            budget.bytes.subtract(bytes.load(ordering: .relaxed), ordering: .relaxed)
            budget.entries.subtract(entries.load(ordering: .relaxed), ordering: .relaxed)
            budget.uncompressed.subtract(uncompressed.load(ordering: .relaxed), ordering: .relaxed)
            budget.memory.subtract(
                memory.load(ordering: .relaxed) + names.load(ordering: .relaxed), ordering: .relaxed)
            budget.digests.subtract(digests.load(ordering: .relaxed), ordering: .relaxed)
        }

        /// Makes the usage of disk, entries and uncompressed bytes permanent, because the layer was applied.
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

        /// Counts steps (`Limits.steps`). They are never returned: a repeated pass takes the time again.
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

        func reserveMemory(_ count: Int64) throws(Excess) {
            guard Self.spend(count, of: limits.memory, budget.memory, memory) else {
                throw .memory(limit: limits.memory)
            }
        }

        /// Counts memory for the names of an image.
        func reserveNames(_ count: Int64) throws(Excess) {
            guard Self.spend(count, of: limits.names, budget.memory, names) else {
                throw .names(limit: limits.names)
            }
        }

        /// Whether all layers together use so much memory that only the lowest unfinished one should continue.
        var exceedsSharedMemory: Bool { budget.memory.load(ordering: .relaxed) > budget.sharedMemory }

        func releaseMemory(_ count: Int64) {
            memory.subtract(count, ordering: .relaxed)
            budget.memory.subtract(count, ordering: .relaxed)
        }

        /// Counts one kept digest.
        ///
        /// - Returns: false if the maximum is exceeded.
        func reserveDigest() -> Bool {
            Self.spend(1, of: Budget.maximumDigests, digests, budget.digests)
        }

        private var limits: Limits { budget.limits }

        /// - Parameter limited: the counter that the limit applies to; `other` is only counted.
        private static func spend(
            _ count: Int64, of limit: Int64, _ other: borrowing Atomic<Int64>,
            _ limited: borrowing Atomic<Int64>
        ) -> Bool {
            other.add(count, ordering: .relaxed)
            return limited.add(count, ordering: .relaxed).newValue <= limit
        }
    }
}
