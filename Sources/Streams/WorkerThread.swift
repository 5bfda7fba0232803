internal import CKernel
internal import Glibc
package import Kernel
internal import Synchronization

/// A plain thread for blocking work; the cooperative pool never waits for a disk.
///
/// Whoever starts one joins it, or detaches it: `join` gives what the body returned or threw.
package final class WorkerThread<Value: Sendable>: Sendable {
    private let outcome: Outcome
    private let handle: Mutex<pthread_t?>

    private final class Outcome: Sendable {
        private let body: Mutex<(@Sendable () throws -> Value)?>
        let result = Mutex<Result<Value, any Error>?>(nil)
        init(_ body: @escaping @Sendable () throws -> Value) { self.body = Mutex(body) }
        /// What the body holds on to goes with it, before anybody learns that it is done.
        func run() {
            let result: Result<Value, any Error>?
            do {
                let body = body.withLock { $0.take() }
                result = body.map { Result(catching: $0) }
            }
            self.result.withLock { $0 = result }
        }
    }

    /// Bytes of address space for a thread's stack, of which only those that are used take memory.
    ///
    /// It is the same whatever `ulimit -s` is, from which the C library takes its default (pthread_create(3)): 2 MiB where that
    /// is unlimited. No function recurses over what an image or a client chooses the depth of, but the JSON decoder, in at most
    /// 100 levels (`JSONText`).
    package static var stackSize: Int { 2 << 20 }

    /// - Throws: `SyscallFailure` if the system has no thread left (EAGAIN).
    package init(_ body: @escaping @Sendable () throws -> Value) throws(SyscallFailure) {
        outcome = Outcome(body)
        let box = Unmanaged.passRetained(Start(outcome.run))
        var thread = pthread_t()
        var attributes = pthread_attr_t()
        pthread_attr_init(&attributes)
        defer { pthread_attr_destroy(&attributes) }
        pthread_attr_setstacksize(&attributes, Self.stackSize)
        let failure = pthread_create(&thread, &attributes, { Start.enter($0) }, box.toOpaque())
        handle = Mutex(failure == 0 ? thread : nil)
        if failure != 0 {
            box.release()
            throw SyscallFailure("pthread_create", code: failure)
        }
    }

    /// Leaves the thread to itself, for work that may never end: nobody joins it.
    package func detach() {
        let thread = handle.withLock { handle -> pthread_t? in
            defer { handle = nil }
            return handle
        }
        if let thread { pthread_detach(thread) }
    }

    /// Waits for the thread's end. Call it once.
    package func join() throws -> Value {
        let thread = handle.withLock { handle -> pthread_t? in
            defer { handle = nil }
            return handle
        }
        if let thread { pthread_join(thread, nil) }
        guard let result = outcome.result.withLock({ $0 }) else {
            // The thread stores it before it ends, and pthread_join has waited for the end.
            preconditionFailure("a joined thread has its outcome")
        }
        return try result.get()
    }
}

extension WorkerThread<Void> {
    /// Finds out whether the system gives this process so many more threads at a time, by starting and ending them.
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

/// What a new thread runs, without the generic parameter that a C function pointer cannot carry.
private final class Start: Sendable {
    private let run: @Sendable () -> Void
    init(_ run: @escaping @Sendable () -> Void) { self.run = run }

    static func enter(_ box: UnsafeMutableRawPointer?) -> UnsafeMutableRawPointer? {
        if let box { Unmanaged<Start>.fromOpaque(box).takeRetainedValue().run() }
        return nil
    }
}
