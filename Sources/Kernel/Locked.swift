/// A value protected by a lock.
///
/// It uses a pthread mutex, which ThreadSanitizer understands; it does not recognize `Synchronization.Mutex` as a
/// lock. Therefore no module uses that one.
package final class Locked<Value: ~Copyable>: @unchecked Sendable {
    private let monitor = Monitor()
    private var value: Value

    package init(_ value: consuming Value) { self.value = value }

    package func withLock<Result: ~Copyable>(_ body: (inout Value) -> Result) -> Result {
        monitor.change { body(&value) }
    }
}
