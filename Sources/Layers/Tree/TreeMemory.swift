internal import Synchronization

/// What trees may take in memory, all that share it together, so that a hostile image fails instead of the host.
package final class TreeMemory: Sendable {
    /// Three million files, in bytes: many times what the largest images have.
    package static let defaultLimit: Int64 = 1 << 30

    private let limit: Int64
    private let count = Atomic<Int64>(0)

    package init(limit: Int64 = defaultLimit) { self.limit = limit }

    package var used: Int64 { count.load(ordering: .relaxed) }

    func remember(_ bytes: Int64) throws(Budget.Excess) {
        guard count.add(bytes, ordering: .relaxed).newValue <= limit else { throw .memory(limit: limit) }
    }

    func forget(_ bytes: Int64) { count.subtract(bytes, ordering: .relaxed) }

    /// Gives back what was added since.
    func reset(to used: Int64) { count.store(used, ordering: .relaxed) }
}
