/// A value protected by a lock.
///
/// It uses a pthread mutex, which ThreadSanitizer understands; it does not recognize `Synchronization.Mutex` as a
/// lock.
package final class Locked<Value>: @unchecked Sendable {
    private let monitor = Monitor()
    private var value: Value

    package init(_ value: Value) { self.value = value }

    package func withLock<Result>(_ body: (inout Value) -> Result) -> Result {
        monitor.change { body(&value) }
    }
}
