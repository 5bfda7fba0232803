internal import GRPCCore
internal import NIOPosix
internal import Streams

/// Runs what calls ask for on threads that may wait for a disk, and tells how it went: nothing of it may hold up the
/// threads that speak to clients.
package final class Calls: Sendable {
    /// A service's database has one writer: more threads than this only wait for each other.
    private static let threadCount = 16

    private let workers = NIOThreadPool(numberOfThreads: threadCount)
    /// For what a call has left to be done after its answer, in order.
    private let later = NIOThreadPool(numberOfThreads: 1)
    private let state = Guarded((running: 0, isStopping: false))
    private let tell: @Sendable (CallRecord) -> Void

    /// - Parameter tell: hears of every call when it has ended, on any thread.
    package init(tell: @escaping @Sendable (CallRecord) -> Void) {
        self.tell = tell
        workers.start()
        later.start()
    }

    /// - Throws: `RPCError`, whatever `body` throws.
    func run<Value: Sendable>(
        _ call: Call, _ body: @escaping @Sendable () throws -> Value
    ) async throws(RPCError) -> Value {
        state.withLock { $0.running += 1 }
        defer { state.withLock { $0.running -= 1 } }
        let start = ContinuousClock.now
        do {
            let value = try await workers.runIfActive(body)
            tell(call.record(.now - start))
            return value
        } catch {
            let error = RPCError(telling: error)
            tell(call.record(.now - start, error))
            throw error
        }
    }

    /// Lends a wish to stop that is told when the client does not want the answer any more.
    func cancellable<Result>(_ body: (Cancellation) async throws -> Result) async throws -> Result {
        let cancellation = Cancellation()
        return try await withRPCCancellationHandler {
            try await body(cancellation)
        } onCancelRPC: { [state] in
            // gRPC says the same at the beginning of a graceful stop, which is for calls to end by themselves.
            if !state.withLock({ $0.isStopping }) { cancellation.cancel() }
        }
    }

    /// No more calls will come: those that are here are brought to their end.
    func stop() { state.withLock { $0.isStopping = true } }

    var isStopping: Bool { state.withLock { $0.isStopping } }

    /// Whether anybody waits for what was asked for.
    var isBusy: Bool { state.withLock { $0.running > 0 } }

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
    }
}

extension ContinuousClock.Instant {
    fileprivate static func - (left: Self, right: Self) -> Duration { right.duration(to: left) }
}
