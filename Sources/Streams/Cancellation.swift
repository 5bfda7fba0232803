internal import Synchronization

/// Thrown where work finds that it is no longer wanted.
package struct Cancelled: Error, Equatable, Sendable {
    package enum Reason: Equatable, Sendable {
        /// A signal asked for it (signal(7)).
        case signal(Int32)
        /// Other work, without which this makes no sense, has failed.
        case failure
    }

    package let reason: Reason

    package init(_ reason: Reason) { self.reason = reason }
}

/// A wish to stop, told once and looked at between two blocks or entries.
package final class Cancellation: Sendable {
    private let signal = Atomic<Int32>(0)

    package init() {}

    /// - Parameter signal: why, as a signal number; the process will exit with 128 + signal.
    package func cancel(signal: Int32) { self.signal.store(signal, ordering: .releasing) }

    /// Because nobody wants the result any more.
    package func cancel() { signal.store(Self.noSignal, ordering: .releasing) }

    private static let noSignal: Int32 = -1

    package var isCancelled: Bool { signal.load(ordering: .acquiring) != 0 }

    package func check() throws(Cancelled) {
        let signal = signal.load(ordering: .acquiring)
        if signal != 0 { throw Cancelled(signal == Self.noSignal ? .failure : .signal(signal)) }
    }
}
