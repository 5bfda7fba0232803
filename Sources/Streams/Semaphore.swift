internal import Kernel
internal import Synchronization

/// A semaphore that limits how many pieces of work run at the same time.
package final class Semaphore: @unchecked Sendable {
    private let monitor = Monitor()

    // Protected by `monitor`.
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

/// A permit of a semaphore. It is released by `release`, or at the latest in `deinit`.
package final class Permit: Sendable {
    private let permits: Semaphore
    private let isHeld = Atomic<Bool>(true)

    fileprivate init(_ permits: Semaphore) { self.permits = permits }

    deinit { release() }

    /// Releases the permit; further calls have no effect.
    package func release() {
        if isHeld.exchange(false, ordering: .acquiringAndReleasing) { permits.release() }
    }
}
