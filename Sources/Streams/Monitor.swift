internal import Glibc

/// A mutex with condition variables: state that threads change and wait for.
package final class Monitor: @unchecked Sendable {
    private let mutex = UnsafeMutablePointer<pthread_mutex_t>.allocate(capacity: 1)
    private let conditions: UnsafeMutablePointer<pthread_cond_t>
    private let groups: Int

    /// - Parameter groups: of those who wait for different things, so that one can be woken without the others.
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

    /// Changes the guarded state and wakes all who wait for it.
    package func change<Result>(_ body: () -> Result) -> Result {
        pthread_mutex_lock(mutex)
        defer { pthread_mutex_unlock(mutex) }
        let result = body()
        for group in 0..<groups { wake(group) }
        return result
    }

    /// Changes the guarded state; `body` wakes whom it concerns.
    func changeQuietly<Result>(_ body: () -> Result) -> Result {
        pthread_mutex_lock(mutex)
        defer { pthread_mutex_unlock(mutex) }
        return body()
    }

    /// Wakes a group. Only from within the monitor.
    func wake(_ group: Int) { pthread_cond_broadcast(conditions + group) }

    /// Waits until `body` finds what it looks for in the guarded state. It is asked at least once, and again whenever the
    /// group is woken.
    package func wait<Result>(in group: Int = 0, _ body: () -> Result?) -> Result {
        pthread_mutex_lock(mutex)
        defer { pthread_mutex_unlock(mutex) }
        while true {
            if let result = body() { return result }
            pthread_cond_wait(conditions + group, mutex)
        }
    }

    /// Waits until `body` finds what it looks for, or so long at most.
    func wait<Result>(atMost milliseconds: Int, _ body: () -> Result?) -> Result? {
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
