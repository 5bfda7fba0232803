internal import Synchronization

/// Memory limit of all trees that share it, so that a hostile image fails instead of the host.
package final class TreeMemory: Sendable {
    /// Bytes for about three million files: many times as many as the largest images have.
    package static let defaultLimit: Int64 = 1 << 30

    private let limit: Int64
    private let count = Atomic<Int64>(0)

    package init(limit: Int64 = defaultLimit) { self.limit = limit }

    package var used: Int64 { count.load(ordering: .relaxed) }

    func reserveMemory(_ bytes: Int64) throws(Budget.Excess) {
        guard count.add(bytes, ordering: .relaxed).newValue <= limit else { throw .memory(limit: limit) }
    }

    func releaseMemory(_ bytes: Int64) { count.subtract(bytes, ordering: .relaxed) }

    /// Resets the usage to an earlier value of `used`.
    func reset(to used: Int64) { count.store(used, ordering: .relaxed) }
}
