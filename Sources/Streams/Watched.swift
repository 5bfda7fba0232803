/// State that threads change, and wait for.
package final class Watched<State>: @unchecked Sendable {
    private let monitor = Monitor()
    private var state: State

    package init(_ state: State) { self.state = state }

    /// Changes it and wakes all who wait.
    package func change<Result>(_ body: (inout State) -> Result) -> Result { monitor.change { body(&state) } }

    /// Waits until `body` finds what it looks for.
    ///
    /// - Parameter meanwhile: told of the state ten times a second, while there is nothing.
    /// - Throws: once somebody has cancelled, which is looked at ten times a second.
    package func wait<Result>(
        _ cancellation: Cancellation, meanwhile: (State) -> Void = { _ in }, _ body: (State) -> Result?
    ) throws(Cancelled) -> Result {
        while true {
            if let result = monitor.wait(atMost: 100, { body(state) }) { return result }
            try cancellation.check()
            meanwhile(monitor.change { state })
        }
    }
}
