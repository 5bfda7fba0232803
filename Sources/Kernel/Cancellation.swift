internal import Synchronization

/// Thrown by work that finds out that it was cancelled.
package struct Cancelled: Error, Equatable, Sendable {
    package enum Reason: Equatable, Sendable {
        /// Cancelled by a signal (signal(7)).
        case signal(Int32)
        /// Other work that this work depends on has failed, or the result is no longer wanted.
        case failure
    }

    package let reason: Reason

    package init(_ reason: Reason) { self.reason = reason }
}

/// A cancellation flag, checked between two blocks or entries.
package final class Cancellation: Sendable {
    private let signal = Atomic<Int32>(0)

    package init() {}

    /// - Parameter signal: number of the signal that caused the cancellation; the process exits with 128 + signal.
    package func cancel(signal: Int32) { self.signal.store(signal, ordering: .releasing) }

    /// Cancels because the result is no longer wanted.
    package func cancel() { signal.store(Self.noSignal, ordering: .releasing) }

    private static let noSignal: Int32 = -1

    package var isCancelled: Bool { signal.load(ordering: .acquiring) != 0 }

    package func check() throws(Cancelled) {
        let signal = signal.load(ordering: .acquiring)
        if signal != 0 { throw Cancelled(signal == Self.noSignal ? .failure : .signal(signal)) }
    }
}
