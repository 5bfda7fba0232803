import Streams
import Synchronization
import Testing

@Suite struct PromiseTests {
    @Test("Threads that wait before or after the value is set get it")
    func waiting() throws {
        let promise = Promise<Int>()
        let threads = try (0..<3).map { _ in try WorkerThread { promise.wait() } }
        while !promise.isAwaited {}
        #expect(promise.value == nil)
        promise.fulfil(7)
        #expect(try threads.map { try $0.join() } == [7, 7, 7])
        #expect(promise.wait() == 7)
        #expect(!promise.isAwaited)
    }

    @Test("Only the first value counts")
    func once() {
        let promise = Promise(1)
        promise.fulfil(2)
        #expect(promise.value == 1)
    }
}

@Suite struct PermitTests {
    @Test(
        "No more work runs at the same time than there are permits, and no permit is lost", arguments: [1, 3])
    func bounded(count: Int) throws {
        let permits = Semaphore(count)
        let running = Mutex((now: 0, most: 0))
        let threads = try (0..<20).map { index in
            try WorkerThread {
                let permit = permits.take()
                running.withLock {
                    $0.now += 1
                    $0.most = max($0.most, $0.now)
                }
                running.withLock { $0.now -= 1 }
                // Released explicitly, twice, or by the last reference.
                if index.isMultiple(of: 2) {
                    permit.release()
                    permit.release()
                }
            }
        }
        for thread in threads { try thread.join() }
        #expect(running.withLock { $0.most } <= count)
        let all = (0..<count).map { _ in permits.take() }
        #expect(all.count == count)
    }
}
