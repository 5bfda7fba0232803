internal import Synchronization

/// Transfers ownership of a value from one thread to another.
package final class OwnershipTransfer<Value: ~Copyable & Sendable>: Sendable {
    private let value = Mutex<Value?>(nil)

    package init() {}

    package func give(_ new: consuming sending Value) {
        var new = Optional(new)
        value.withLock { $0 = new.take() }
    }

    /// Returns the value to the first caller, and nil to later ones or if no value was given.
    package func take() -> Value? { value.withLock { $0.take() } }
}
