import Synchronization

/// Mounts with relative paths go through the working directory, which the whole process shares: one at a time.
package enum MountLock {
    private static let mutex = Mutex(())

    package static func hold<Result>(_ body: () throws -> sending Result) rethrows -> sending Result {
        try mutex.withLock { _ in try body() }
    }
}
