internal import Synchronization

/// A semaphore that limits how many pieces of work run at the same time.
package final class Permits: @unchecked Sendable {
    private let monitor = Monitor()

    // Guarded by `monitor`.
    private var free: Int

    package init(_ count: Int) { free = count }

    /// Waits for a free permit and acquires it.
    package func take() -> Permit {
        monitor.wait { () -> Permit? in
            if free == 0 { return nil }
            free -= 1
            return Permit(self)
        }
    }

    fileprivate func release() { monitor.change { free += 1 } }
}

/// A permit of a semaphore. It is released by `giveBack`, or at the latest in `deinit`.
package final class Permit: Sendable {
    private let permits: Permits
    private let isHeld = Atomic<Bool>(true)

    fileprivate init(_ permits: Permits) { self.permits = permits }

    deinit { giveBack() }

    /// Releases the permit; further calls have no effect.
    package func giveBack() {
        if isHeld.exchange(false, ordering: .acquiringAndReleasing) { permits.release() }
    }
}
