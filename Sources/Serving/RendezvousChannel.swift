internal import Kernel
internal import Streams

/// Passes items from a thread, which may block, to a task, which must not. The sender waits until each item is
/// received.
final class RendezvousChannel<Item: Sendable>: Sendable {
    private struct State {
        var isClosed = false
        /// Fulfilled when the item sent last was received (true), or when the channel is closed (false).
        var received: Promise<Bool>?
    }

    private let state = Locked(State())
    private let items: AsyncStream<Item>
    private let continuation: AsyncStream<Item>.Continuation

    init() { (items, continuation) = AsyncStream.makeStream() }

    /// Sends an item, and waits until it was received.
    ///
    /// - Throws: `Cancelled` if the channel is closed.
    func send(_ item: Item) throws(Cancelled) {
        let received = Promise<Bool>()
        let isOpen = state.withLock { state in
            state.received = received
            return !state.isClosed
        }
        guard isOpen else { throw Cancelled(.failure) }
        continuation.yield(item)
        guard received.wait() else { throw Cancelled(.failure) }
    }

    /// Ends the sequence of items. Called by the sender.
    func finish() { continuation.finish() }

    /// Receives items until the sender calls `finish`. If `body` throws, `send` throws `Cancelled` from then on.
    func forEach(_ body: (Item) async throws -> Void) async throws {
        defer { close() }
        for await item in items {
            try await body(item)
            state.withLock { $0.received }?.fulfil(true)
        }
    }

    /// Closes the channel: `send` throws from now on. Called by the receiver.
    func close() {
        let waiting = state.withLock { state in
            state.isClosed = true
            return state.received
        }
        waiting?.fulfil(false)
    }
}
