import Foundation
import Kernel
import OCI
import Streams
import Synchronization
import TestSupport
import Testing

@Suite("Block ring", .timeLimit(.minutes(1))) struct BlockRingTests {
    private static let content = Bytes.noise(40_000).array

    /// Writes `content` in pieces of changing length.
    private static func produce(into ring: BlockRing, blockSize: Int, slowly: Bool = false) -> Int {
        var rest = content[...]
        var count = 0
        while !rest.isEmpty {
            if slowly { usleep(500) }
            let length = min(rest.count, 1 + (count * 37) % blockSize)
            let isOpen = ring.produce { block in
                block.withUnsafeMutableBytes { $0.copyBytes(from: rest.prefix(length)) }
                return length
            }
            if !isOpen { break }
            rest = rest.dropFirst(length)
            count += 1
        }
        ring.finish()
        return count
    }

    private static func collect(from ring: BlockRing, reader: Int, slowly: Bool = false) -> [UInt8] {
        var bytes = [UInt8]()
        ring.consume(reader: reader) { span in
            if slowly { usleep(500) }
            span.withUnsafeBytes { bytes += $0 }
        }
        return bytes
    }

    enum Slow: CaseIterable, Sendable { case none, producer, first, second }

    @Test(
        "Every reader gets every byte in order, regardless of which thread is slow",
        arguments: [(1000, 1), (1000, 2), (4096, 8)],
        Slow.allCases)
    func delivers(_ size: (block: Int, count: Int), slow: Slow) throws {
        let ring = BlockRing(readers: 2, blockSize: size.block, blockCount: size.count)
        let producer = try WorkerThread {
            Self.produce(into: ring, blockSize: size.block, slowly: slow == .producer)
        }
        let first = try WorkerThread { Self.collect(from: ring, reader: 0, slowly: slow == .first) }
        let second = try WorkerThread { Self.collect(from: ring, reader: 1, slowly: slow == .second) }
        #expect(try first.join() == Self.content)
        #expect(try second.join() == Self.content)
        #expect(try producer.join() > 10)
        #expect(!ring.wasCancelled)
    }

    @Test("No more blocks are filled than the ring has, until all readers have passed some")
    func isBounded() throws {
        let ring = BlockRing(readers: 2, blockSize: 10, blockCount: 3)
        let counter = Counter()
        let producer = try WorkerThread {
            for _ in 0..<6 {
                _ = ring.produce { _ in
                    counter.value.add(1, ordering: .relaxed)
                    return 1
                }
            }
        }
        func stops(at count: Int) -> Bool {
            for _ in 0..<2000 where counter.value.load(ordering: .relaxed) < count { usleep(1000) }
            usleep(20_000)
            return counter.value.load(ordering: .relaxed) == count
        }
        #expect(stops(at: 3))
        for _ in 0..<3 { #expect(ring.next(reader: 0)?.count == 1) }
        #expect(stops(at: 3), "the second reader has passed none")
        for _ in 0..<3 { _ = ring.next(reader: 1) }
        #expect(stops(at: 5), "the second reader has passed two")
        ring.cancel()
        try producer.join()
    }

    private final class Counter: Sendable { let value = Atomic<Int>(0) }

    enum Waiter: CaseIterable, Sendable { case producer, reader }

    @Test(
        "Cancelling wakes all waiting threads and ends the stream for all readers", arguments: Waiter.allCases
    )
    func cancel(waiter: Waiter) throws {
        let ring = BlockRing(readers: 2, blockSize: 10, blockCount: 1)
        let waiting = try WorkerThread {
            switch waiter {
            case .producer:
                let first = ring.produce { _ in 1 }
                return first && !ring.produce { _ in 1 }
            case .reader: return ring.next(reader: 0) == nil
            }
        }
        usleep(20_000)
        ring.cancel()
        #expect(try waiting.join())
        #expect(ring.wasCancelled)
        #expect(ring.next(reader: 1) == nil)
        #expect(!ring.produce { _ in 1 })
    }

    @Test("A stream without bytes ends at once, and an empty piece adds no block")
    func empty() {
        let ring = BlockRing(readers: 1, blockSize: 10, blockCount: 1)
        for _ in 0..<5 { #expect(ring.produce { _ in 0 }) }
        ring.finish()
        #expect(ring.next(reader: 0) == nil)
        #expect(ring.next(reader: 0) == nil)
        #expect(!ring.wasCancelled)
    }

    @Test("An error while filling a block is rethrown, and the ring stays usable")
    func throwing() {
        let ring = BlockRing(readers: 1, blockSize: 10, blockCount: 1)
        #expect(throws: Cancelled.self) {
            _ = try ring.produce { _ in
                let cancellation = Cancellation()
                cancellation.cancel(signal: 2)
                try cancellation.check()
                return 1
            }
        }
        #expect(ring.produce { _ in 3 })
        #expect(ring.next(reader: 0)?.count == 3)
    }
}
