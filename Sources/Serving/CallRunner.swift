internal import GRPCCore
internal import Kernel
internal import NIOCore
internal import NIOPosix

/// Runs the blocking work of calls on threads of its own, and logs each call. The event loops and Swift's cooperative
/// pool must not block.
package final class CallRunner: Sendable {
    /// A store's database has a single writer: more threads would only wait for each other.
    private static let threadCount = 16

    /// The limit of concurrent calls of all clients together. Cancelled calls count until their work has ended.
    private static let maximumCalls = 4096

    /// The threads that the server needs: those of the three pools, the event loops and Swift's cooperative pool, its
    /// timer thread, and those that apply one layer.
    package static var neededThreads: Int {
        2 * threadCount + 1 + 2 * NIOSingletons.groupLoopCountSuggestion + 1 + threadsOfLayer
    }

    /// The threads of `LayerPipeline`, including the one that writes back early.
    private static let threadsOfLayer = 4

    private let workers = NIOThreadPool(numberOfThreads: threadCount)
    /// Works on layers, and may wait for containerd. containerd in turn may hold the lock of its database until a
    /// snapshot is prepared or committed: a separate pool for that excludes a deadlock.
    private let layerWorkers = NIOThreadPool(numberOfThreads: threadCount)
    /// Runs the work that calls leave for after their answers, in order.
    private let backgroundWorker = NIOThreadPool(numberOfThreads: 1)
    private let state = Locked(State())
    private let report: @Sendable (CallRecord) -> Void

    private struct State {
        var running = 0
        var isStopping = false
        /// When the last call ended, or when the stop began.
        var idleSince = ContinuousClock.now
    }

    /// - Parameter report: receives the record of every call that has ended. It is called on any thread.
    package init(report: @escaping @Sendable (CallRecord) -> Void) {
        self.report = report
        for pool in [workers, layerWorkers, backgroundWorker] { pool.start() }
    }

    /// Runs the body of a call, and records its outcome.
    ///
    /// - Parameter body: may add fields to the call for the record.
    /// - Throws: `RPCError` with the code and message of any error of `body`; `.resourceExhausted` beyond the limit of
    ///   calls.
    func answer<Value>(
        _ call: Call, _ body: (inout Call) async throws -> Value
    ) async throws(RPCError) -> Value {
        let running = state.withLock { state in
            state.running += 1
            return state.running
        }
        defer {
            state.withLock { state in
                state.running -= 1
                state.idleSince = .now
            }
        }
        let start = ContinuousClock.now
        var call = call
        do {
            if running > Self.maximumCalls {
                throw RPCError(
                    code: .resourceExhausted, message: "\(Self.maximumCalls) calls are running")
            }
            let value = try await body(&call)
            report(call.record(.now - start))
            return value
        } catch {
            let error = RPCError(describing: error)
            report(call.record(.now - start, error))
            throw error
        }
    }

    /// Answers a call with the result of `body`, which runs on a thread and waits for nothing but the disk. If the call
    /// is cancelled before a thread is free, `body` does not run.
    ///
    /// - Parameter body: may throw after a cancellation, but must not have changed anything then.
    func run<Value: Sendable>(
        _ call: Call, _ body: @escaping @Sendable (Cancellation) throws -> Value
    ) async throws(RPCError) -> Value {
        try await answer(call) { _ in
            try await withCancellation { cancellation in
                try await workers.runIfActive {
                    try cancellation.check()
                    return try body(cancellation)
                }
            }
        }
    }

    /// Runs the part of a call that reads or writes a layer, on a thread that may wait for containerd.
    func runLayer<Value: Sendable>(_ body: @escaping @Sendable () throws -> Value) async throws -> Value {
        try await layerWorkers.runIfActive(body)
    }

    /// Provides a `Cancellation` that fires when the client cancels the RPC.
    func withCancellation<Result>(_ body: (Cancellation) async throws -> Result) async throws -> Result {
        let cancellation = Cancellation()
        return try await withRPCCancellationHandler {
            do {
                return try await body(cancellation)
            } catch {
                // Whatever error the body has run into, the cancellation is its cause.
                throw cancellation.isCancelled ? Cancelled(.failure) : error
            }
        } onCancelRPC: { [state] in
            // gRPC also calls this when a graceful stop begins, but running calls are to be completed then.
            if !state.withLock({ $0.isStopping }) { cancellation.cancel() }
        }
    }

    /// Begins a stop. Calls that run or are still arriving are completed.
    func stop() {
        state.withLock { state in
            if !state.isStopping { state.idleSince = .now }
            state.isStopping = true
        }
    }

    var isStopping: Bool { state.withLock { $0.isStopping } }

    /// The time without a running call since the stop began; zero while a call runs.
    var idleTime: Duration {
        state.withLock { $0.running > 0 ? .zero : .now - $0.idleSince }
    }

    /// Runs work after the answer. A failure is logged like that of a call, but the client is not informed.
    func runInBackground(_ call: Call, _ body: @escaping @Sendable () throws -> Void) {
        let report = report
        backgroundWorker.submit { state in
            guard case .active = state else { return }
            let start = ContinuousClock.now
            do {
                try body()
                report(call.record(.now - start))
            } catch {
                report(call.record(.now - start, RPCError(describing: error)))
            }
        }
    }

    /// Completes the background work and stops all threads. Must not be called before the last call has ended.
    package func finish() async {
        try? await backgroundWorker.runIfActive {}
        try? await backgroundWorker.shutdownGracefully()
        try? await workers.shutdownGracefully()
        try? await layerWorkers.shutdownGracefully()
    }
}

extension ContinuousClock.Instant {
    fileprivate static func - (left: Self, right: Self) -> Duration { right.duration(to: left) }
}
