/// State that threads change, and wait for.
package final class Watched<State>: @unchecked Sendable {
    private let monitor = Monitor()
    private var state: State

    package init(_ state: State) { self.state = state }

    /// Changes it and wakes all who wait.
    package func change<Result>(_ body: (inout State) -> Result) -> Result { monitor.change { body(&state) } }

    /// Waits until `body` finds what it looks for.
    ///
    /// - Throws: once somebody has cancelled, which is looked at ten times a second.
    package func wait<Result>(
        _ cancellation: Cancellation, _ body: (State) -> Result?
    ) throws(Cancelled) -> Result {
        while true {
            if let result = monitor.wait(atMost: 100, { body(state) }) { return result }
            try cancellation.check()
        }
    }
}
