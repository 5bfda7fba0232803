internal import CKernel
internal import Glibc
package import Kernel

/// A plain thread for blocking work, which must not run on the cooperative thread pool.
///
/// The caller must either join the thread or detach it; `join` returns or throws what the body did.
package final class WorkerThread<Value: Sendable>: Sendable {
    private let outcome: Outcome
    private let handle: Locked<pthread_t?>

    private final class Outcome: Sendable {
        private let body: Locked<(@Sendable () throws -> Value)?>
        let result = Locked<Result<Value, any Error>?>(nil)
        init(_ body: @escaping @Sendable () throws -> Value) { self.body = Locked(body) }
        /// Releases everything that the body captured before the result becomes visible.
        func run() {
            let result: Result<Value, any Error>?
            do {
                let body = body.withLock { $0.take() }
                result = body.map { Result(catching: $0) }
            }
            self.result.withLock { $0 = result }
        }
    }

    /// Stack size of a thread, in bytes of address space; only used pages take memory.
    ///
    /// It does not depend on `ulimit -s`, which the C library's default is taken from: 2 MiB if that is unlimited
    /// (pthread_create(3)). No function that runs on such a thread recurses to a depth that an image or a client
    /// chooses, except the JSON decoder, which recurses over at most 100 levels (`JSONText`).
    package static var stackSize: Int { 2 << 20 }

    /// - Throws: `SyscallFailure` if the system cannot create another thread (EAGAIN).
    package init(_ body: @escaping @Sendable () throws -> Value) throws(SyscallFailure) {
        outcome = Outcome(body)
        let box = Unmanaged.passRetained(Start(outcome.run))
        var thread = pthread_t()
        var attributes = pthread_attr_t()
        pthread_attr_init(&attributes)
        defer { pthread_attr_destroy(&attributes) }
        pthread_attr_setstacksize(&attributes, Self.stackSize)
        let failure = pthread_create(&thread, &attributes, { Start.enter($0) }, box.toOpaque())
        handle = Locked(failure == 0 ? thread : nil)
        if failure != 0 {
            box.release()
            throw SyscallFailure("pthread_create", code: failure)
        }
    }

    /// Detaches the thread, for work that may never end; it cannot be joined afterwards.
    package func detach() {
        let thread = handle.withLock { handle -> pthread_t? in
            defer { handle = nil }
            return handle
        }
        if let thread { pthread_detach(thread) }
    }

    /// Waits for the thread to end and returns its result. Call it once.
    package func join() throws -> Value {
        let thread = handle.withLock { handle -> pthread_t? in
            defer { handle = nil }
            return handle
        }
        if let thread { pthread_join(thread, nil) }
        guard let result = outcome.result.withLock({ $0 }) else {
            // The thread stores the result before it ends, and pthread_join has waited for that.
            preconditionFailure("a joined thread has its outcome")
        }
        return try result.get()
    }
}

extension WorkerThread<Void> {
    /// Checks that the system can create a number of threads at the same time, by starting and ending them.
    ///
    /// - Throws: `SyscallFailure` of pthread_create(3) if it refuses one.
    package static func require(_ count: Int) throws(SyscallFailure) {
        let isOver = Promise<Void>()
        var threads = [WorkerThread<Void>]()
        defer {
            isOver.fulfil(())
            for thread in threads { try? thread.join() }
        }
        for _ in 0..<count { threads.append(try WorkerThread { isOver.wait() }) }
    }
}

/// The body of a new thread, without the generic parameter that a C function pointer cannot carry.
private final class Start: Sendable {
    private let run: @Sendable () -> Void
    init(_ run: @escaping @Sendable () -> Void) { self.run = run }

    static func enter(_ box: UnsafeMutableRawPointer?) -> UnsafeMutableRawPointer? {
        if let box { Unmanaged<Start>.fromOpaque(box).takeRetainedValue().run() }
        return nil
    }
}
