internal import CKernel
internal import Glibc

/// A mutex with condition variables that protects state which threads change and wait for.
package final class Monitor: @unchecked Sendable {
    private let mutex = UnsafeMutablePointer<pthread_mutex_t>.allocate(capacity: 1)
    private let conditions: UnsafeMutablePointer<pthread_cond_t>
    private let groups: Int

    /// - Parameter groups: number of condition variables: threads that wait for different conditions use different
    ///   groups, which can be woken separately.
    package init(groups: Int = 1) {
        pthread_mutex_init(mutex, nil)
        conditions = .allocate(capacity: groups)
        self.groups = groups
        for group in 0..<groups { pthread_cond_init(conditions + group, nil) }
    }

    deinit {
        for group in 0..<groups { pthread_cond_destroy(conditions + group) }
        pthread_mutex_destroy(mutex)
        conditions.deallocate()
        mutex.deallocate()
    }

    /// Changes the guarded state and wakes all waiting threads.
    package func change<Result: ~Copyable>(_ body: () -> Result) -> Result {
        pthread_mutex_lock(mutex)
        defer { pthread_mutex_unlock(mutex) }
        let result = body()
        for group in 0..<groups { wake(group) }
        return result
    }

    /// Changes the guarded state without waking any thread; `body` calls `wake` itself.
    package func changeWithoutWaking<Result>(_ body: () -> Result) -> Result {
        pthread_mutex_lock(mutex)
        defer { pthread_mutex_unlock(mutex) }
        return body()
    }

    /// Wakes the threads of a group. Call it only from a body that runs inside the monitor.
    package func wake(_ group: Int) { pthread_cond_broadcast(conditions + group) }

    /// Waits until `body` returns a value for the guarded state. `body` runs at least once, and again whenever the
    /// group is woken.
    package func wait<Result>(in group: Int = 0, _ body: () -> Result?) -> Result {
        pthread_mutex_lock(mutex)
        defer { pthread_mutex_unlock(mutex) }
        while true {
            if let result = body() { return result }
            pthread_cond_wait(conditions + group, mutex)
        }
    }

    /// Waits in group 0 until `body` returns a value, at most for the given time.
    package func wait<Result>(atMost milliseconds: Int, _ body: () -> Result?) -> Result? {
        var end = timespec()
        clock_gettime(CLOCK_REALTIME, &end)
        end.tv_sec += milliseconds / 1000
        end.tv_nsec += milliseconds % 1000 * 1_000_000
        if end.tv_nsec >= 1_000_000_000 {
            end.tv_sec += 1
            end.tv_nsec -= 1_000_000_000
        }
        pthread_mutex_lock(mutex)
        defer { pthread_mutex_unlock(mutex) }
        while true {
            if let result = body() { return result }
            if pthread_cond_timedwait(conditions, mutex, &end) == ETIMEDOUT { return body() }
        }
    }
}
