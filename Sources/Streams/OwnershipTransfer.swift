internal import Kernel

/// A slot through which one thread transfers ownership of a value to another.
package final class OwnershipTransfer<Value: ~Copyable & Sendable>: Sendable {
    private let value = Locked<Value?>(nil)

    package init() {}

    package func give(_ new: consuming sending Value) {
        var new = Optional(new)
        value.withLock { $0 = new.take() }
    }

    /// Returns the value to the first caller, and nil to later ones or if no value was given.
    package func take() -> Value? { value.withLock { $0.take() } }
}
