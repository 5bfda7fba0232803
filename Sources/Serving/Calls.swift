internal import GRPCCore
internal import NIOCore
internal import NIOPosix
internal import Streams

/// Runs what calls ask for on threads that may wait for a disk, and tells how it went: nothing of it may hold up the
/// threads that speak to clients.
package final class Calls: Sendable {
    /// A service's database has one writer: more threads than this only wait for each other.
    private static let threadCount = 16

    /// Calls at a time, of all clients together, whether they are still wanted or not.
    private static let maximumCalls = 4096

    /// Threads that serving takes before the first call: the pools', the event loops', those of Swift's own executor and its
    /// timers; with those of one layer that is applied.
    package static var neededThreads: Int {
        2 * threadCount + 1 + 2 * NIOSingletons.groupLoopCountSuggestion + 1 + threadsOfLayer
    }

    /// Of `LayerPipeline`, with the one that syncs meanwhile.
    private static let threadsOfLayer = 4

    private let workers = NIOThreadPool(numberOfThreads: threadCount)
    /// For layers, which may wait for containerd. It may hold its database until a snapshot is made or committed: threads
    /// for that are always left.
    private let layerWorkers = NIOThreadPool(numberOfThreads: threadCount)
    /// For what a call has left to be done after its answer, in order.
    private let later = NIOThreadPool(numberOfThreads: 1)
    private let state = Guarded(State())
    private let tell: @Sendable (CallRecord) -> Void

    private struct State {
        var running = 0
        var isStopping = false
        /// When the last call ended, or the stop began.
        var idleSince = ContinuousClock.now
    }

    /// - Parameter tell: hears of every call when it has ended, on any thread.
    package init(tell: @escaping @Sendable (CallRecord) -> Void) {
        self.tell = tell
        for pool in [workers, layerWorkers, later] { pool.start() }
    }

    /// Answers a call with what `body` returns or throws, and tells how that went.
    ///
    /// - Parameter body: may add to what is told of the call.
    /// - Throws: `RPCError`, whatever `body` throws.
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
            tell(call.record(.now - start))
            return value
        } catch {
            let error = RPCError(telling: error)
            tell(call.record(.now - start, error))
            throw error
        }
    }

    /// Answers a call with the result of `body`, which runs on a thread and waits for the disk alone. A call that is cancelled
    /// before a thread is free does nothing.
    ///
    /// - Parameter body: may stop once the cancellation has fired, and must then have changed nothing.
    func run<Value: Sendable>(
        _ call: Call, _ body: @escaping @Sendable (Cancellation) throws -> Value
    ) async throws(RPCError) -> Value {
        try await answer(call) { _ in
            try await cancellable { cancellation in
                try await workers.runIfActive {
                    try cancellation.check()
                    return try body(cancellation)
                }
            }
        }
    }

    /// Does something with a layer on a thread, of a call that is being answered.
    func runLayer<Value: Sendable>(_ body: @escaping @Sendable () throws -> Value) async throws -> Value {
        try await layerWorkers.runIfActive(body)
    }

    /// Lends a wish to stop that is told when the client does not want the answer any more.
    func cancellable<Result>(_ body: (Cancellation) async throws -> Result) async throws -> Result {
        let cancellation = Cancellation()
        return try await withRPCCancellationHandler {
            do {
                return try await body(cancellation)
            } catch {
                // However far it got: that is why it failed.
                throw cancellation.isCancelled ? Cancelled(.failure) : error
            }
        } onCancelRPC: { [state] in
            // gRPC says the same at the beginning of a graceful stop, which is for calls to end by themselves.
            if !state.withLock({ $0.isStopping }) { cancellation.cancel() }
        }
    }

    /// Begins a stop: calls that run, and those that are still on their way, come to their end.
    func stop() {
        state.withLock { state in
            if !state.isStopping { state.idleSince = .now }
            state.isStopping = true
        }
    }

    var isStopping: Bool { state.withLock { $0.isStopping } }

    /// How long no call has run, since the stop began; zero while one runs.
    var idleTime: Duration {
        state.withLock { $0.running > 0 ? .zero : .now - $0.idleSince }
    }

    /// Does something after the answer. Of a failure it is told as of a call; who has asked does not hear of it.
    func afterwards(_ call: Call, _ body: @escaping @Sendable () throws -> Void) {
        let tell = tell
        later.submit { state in
            guard case .active = state else { return }
            let start = ContinuousClock.now
            do {
                try body()
                tell(call.record(.now - start))
            } catch {
                tell(call.record(.now - start, RPCError(telling: error)))
            }
        }
    }

    /// Waits for what was left for afterwards. Call it when no more calls come.
    package func finish() async {
        try? await later.runIfActive {}
        try? await later.shutdownGracefully()
        try? await workers.shutdownGracefully()
        try? await layerWorkers.shutdownGracefully()
    }
}

extension ContinuousClock.Instant {
    fileprivate static func - (left: Self, right: Self) -> Duration { right.duration(to: left) }
}
