internal import Kernel

/// A value that one thread sets once and other threads wait for.
package final class Promise<Value: Sendable>: @unchecked Sendable {
    private let monitor = Monitor()

    // Protected by `monitor`.
    private var given: Value?
    private var waiting = 0

    package init() {}

    /// Creates a promise that is already fulfilled.
    package init(_ value: Value) { given = value }

    /// Sets the value; calls after the first have no effect.
    package func fulfil(_ value: Value) { monitor.change { if given == nil { given = value } } }

    /// The value, or nil if it is not set yet.
    package var value: Value? { monitor.change { given } }

    /// Waits for the value.
    package func wait() -> Value {
        monitor.change { waiting += 1 }
        defer { monitor.change { waiting -= 1 } }
        return monitor.wait { given }
    }

    /// Waits for the value, at most for the given time.
    ///
    /// - Returns: nil if the value was not set in time.
    package func wait(milliseconds: Int) -> Value? { monitor.wait(atMost: milliseconds) { given } }

    /// Whether a thread waits for the value, in the untimed `wait`.
    package var isAwaited: Bool { monitor.change { waiting > 0 } }
}
