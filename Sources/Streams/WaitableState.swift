package import Kernel

/// State that threads change and wait for.
package final class WaitableState<State>: @unchecked Sendable {
    private let monitor = Monitor()
    private var state: State

    package init(_ state: State) { self.state = state }

    /// Changes the state and wakes all waiting threads.
    package func change<Result>(_ body: (inout State) -> Result) -> Result { monitor.change { body(&state) } }

    /// Waits until `body` returns a value for the state.
    ///
    /// - Parameter meanwhile: called with the state ten times a second while `body` returns nil.
    /// - Throws: `Cancelled` after a cancellation, which is checked ten times a second.
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
