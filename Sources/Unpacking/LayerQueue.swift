/// The order in which the layers of an image are started.
///
/// The largest layers start first, so that a large one does not run alone at the end. One of the layers being read,
/// however, was always the lowest that had not been started: a layer may wait for the layers below it while it is read,
/// so that one of those must make progress.
package struct LayerQueue {
    /// The layers that have not been started, the lowest first, with their sizes in bytes.
    private var waiting: [(index: Int, size: Int64)]
    /// The layer being read that was the lowest when it was started.
    private var takenAsLowest: Int?

    /// - Parameter sizes: sizes of the layers in bytes, the lowest first.
    package init(sizes: [Int64]) { waiting = sizes.enumerated().map { ($0, $1) } }

    /// Removes the next layer to start; nil if all have been started.
    package mutating func next() -> Int? {
        guard let lowest = waiting.first?.index else { return nil }
        guard takenAsLowest != nil else {
            takenAsLowest = lowest
            waiting.removeFirst()
            return lowest
        }
        // Among equal sizes the lowest.
        let largest = waiting.indices.reduce(0) { waiting[$1].size > waiting[$0].size ? $1 : $0 }
        return waiting.remove(at: largest).index
    }

    /// Records that a layer has been read, and now depends only on the layers below. Idempotent.
    package mutating func finishReading(_ index: Int) {
        if takenAsLowest == index { takenAsLowest = nil }
    }
}
