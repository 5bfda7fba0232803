internal import Streams

/// Hands things from a thread that may wait to a task that may not, one at a time.
final class Conveyor<Item: Sendable>: Sendable {
    private struct State {
        var isClosed = false
        /// Kept when what was sent last has been taken.
        var taken: Promise<Bool>?
    }

    private let state = Guarded(State())
    private let items: AsyncStream<Item>
    private let belt: AsyncStream<Item>.Continuation

    init() { (items, belt) = AsyncStream.makeStream() }

    /// Hands one over, and waits until it was taken.
    ///
    /// - Throws: `Cancelled` if nobody takes any more.
    func send(_ item: Item) throws(Cancelled) {
        let taken = Promise<Bool>()
        let isOpen = state.withLock { state in
            state.taken = taken
            return !state.isClosed
        }
        guard isOpen else { throw Cancelled(.failure) }
        belt.yield(item)
        guard taken.wait() else { throw Cancelled(.failure) }
    }

    /// Nothing more will be sent.
    func finish() { belt.finish() }

    /// Takes all that is sent, until `finish`. Whoever sends anything when this has thrown learns of it.
    func forEach(_ body: (Item) async throws -> Void) async throws {
        defer { close() }
        for await item in items {
            try await body(item)
            state.withLock { $0.taken }?.fulfil(true)
        }
    }

    /// Takes nothing more.
    func close() {
        let waiting = state.withLock { state in
            state.isClosed = true
            return state.taken
        }
        waiting?.fulfil(false)
    }
}
