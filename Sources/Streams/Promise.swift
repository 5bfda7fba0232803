/// A value that one thread gives and others wait for.
package final class Promise<Value: Sendable>: @unchecked Sendable {
    private let monitor = Monitor()

    // Guarded by `monitor`.
    private var given: Value?
    private var waiting = 0

    package init() {}

    /// One that is kept already.
    package init(_ value: Value) { given = value }

    /// Gives the value, once: what is given later is ignored.
    package func fulfil(_ value: Value) { monitor.change { if given == nil { given = value } } }

    /// The value, if it has been given.
    package var value: Value? { monitor.change { given } }

    /// Waits for the value.
    package func wait() -> Value {
        monitor.change { waiting += 1 }
        defer { monitor.change { waiting -= 1 } }
        return monitor.wait { given }
    }

    /// Waits so long at most.
    ///
    /// - Returns: nil if the value was not given until then.
    package func wait(milliseconds: Int) -> Value? { monitor.wait(atMost: milliseconds) { given } }

    /// Whether somebody waits for the value now.
    package var isAwaited: Bool { monitor.change { waiting > 0 } }
}
