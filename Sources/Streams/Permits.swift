internal import Synchronization

/// So many pieces of work at once, and no more.
package final class Permits: @unchecked Sendable {
    private let monitor = Monitor()

    // Guarded by `monitor`.
    private var free: Int

    package init(_ count: Int) { free = count }

    /// Waits for a permit and takes it.
    package func take() -> Permit {
        monitor.wait { () -> Permit? in
            if free == 0 { return nil }
            free -= 1
            return Permit(self)
        }
    }

    fileprivate func takeBack() { monitor.change { free += 1 } }
}

/// Held while the work lasts, and given back at the latest when nobody holds it any more.
package final class Permit: Sendable {
    private let permits: Permits
    private let isHeld = Atomic<Bool>(true)

    fileprivate init(_ permits: Permits) { self.permits = permits }

    deinit { giveBack() }

    /// Says that the work is done, once or more often.
    package func giveBack() {
        if isHeld.exchange(false, ordering: .acquiringAndReleasing) { permits.takeBack() }
    }
}
