import Foundation
import Kernel
import Streams
import Testing

@Suite("Worker threads", .timeLimit(.minutes(1))) struct WorkerThreadTests {
    @Test("Joining a thread returns the result of its body")
    func returns() throws {
        let threads = try (0..<20).map { number in try WorkerThread { number * 2 } }
        #expect(try threads.map { try $0.join() } == (0..<20).map { $0 * 2 })
    }

    @Test("Joining a thread throws the error of its body")
    func throwing() throws {
        struct Failure: Error, Equatable { let number: Int }
        let thread = try WorkerThread { () throws -> Int in throw Failure(number: 7) }
        #expect(throws: Failure(number: 7)) { try thread.join() }
    }

    @Test("The body runs concurrently with its caller, on a thread of its own")
    func parallel() throws {
        let ring = BlockRing(readers: 1, blockSize: 1, blockCount: 1)
        // This would block forever if the body ran before the next line.
        let thread = try WorkerThread { ring.next(reader: 0)?.count }
        _ = ring.produce { _ in 1 }
        #expect(try thread.join() == 1)
        #expect(try WorkerThread { Thread.isMainThread }.join() == false)
    }

    @Test("A cancellation is reported by the next check")
    func cancellation() throws {
        let cancellation = Cancellation()
        try cancellation.check()
        cancellation.cancel(signal: 15)
        let cancelled = #expect(throws: Cancelled.self) { try cancellation.check() }
        #expect(cancelled?.reason == .signal(15))
    }
}
