/// A value that several threads change, one at a time.
///
/// Of pthread's making, which ThreadSanitizer sees through; `Synchronization.Mutex` it takes for no lock at all.
package final class Guarded<Value>: @unchecked Sendable {
    private let monitor = Monitor()
    private var value: Value

    package init(_ value: Value) { self.value = value }

    package func withLock<Result>(_ body: (inout Value) -> Result) -> Result {
        monitor.change { body(&value) }
    }
}
