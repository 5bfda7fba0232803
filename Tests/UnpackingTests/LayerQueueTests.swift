import Testing
import Unpacking

@Suite("The order in which layers are started") struct LayerQueueTests {
    /// The order with a number of jobs, if layers end in the order in which they were started.
    private func order(_ sizes: [Int64], jobs: Int) -> [Int] {
        var queue = LayerQueue(sizes: sizes)
        var running = [Int]()
        var order = [Int]()
        while true {
            if running.count == jobs { queue.finishReading(running.removeFirst()) }
            guard let next = queue.next() else { return order }
            running.append(next)
            order.append(next)
        }
    }

    @Test("With one job the layers are started from the lowest up, whatever their sizes")
    func one() { #expect(order([1, 9, 5, 7], jobs: 1) == [0, 1, 2, 3]) }

    @Test("With several jobs one layer was the lowest that was left, and the others were the largest")
    func several() {
        #expect(order([1, 2, 3, 9, 5, 7], jobs: 2) == [0, 3, 1, 5, 2, 4])
        #expect(order([1, 2, 3, 9, 5, 7], jobs: 3) == [0, 3, 5, 1, 4, 2])
        #expect(order([4, 4, 4, 4], jobs: 2) == [0, 1, 2, 3])
        #expect(order([], jobs: 2) == [])
    }

    @Test("Each layer is started once", arguments: 1...6)
    func each(jobs: Int) {
        let sizes = (0..<20).map { Int64($0 * 7919 % 13) }
        #expect(order(sizes, jobs: jobs).sorted() == Array(0..<20))
    }
}
