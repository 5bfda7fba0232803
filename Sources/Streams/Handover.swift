internal import Synchronization

/// A value with one owner, on its way from one thread to another.
package final class Handover<Value: ~Copyable & Sendable>: Sendable {
    private let value = Mutex<Value?>(nil)

    package init() {}

    package func give(_ new: consuming sending Value) {
        var new = Optional(new)
        value.withLock { $0 = new.take() }
    }

    /// The value, for whoever asks first.
    package func take() -> Value? { value.withLock { $0.take() } }
}
