/// In which order the layers of an image are begun.
///
/// The largest go first, so that no large one is left alone at the end. But one of those that are read has always been taken
/// from below: a layer may have to wait in the middle for those below it, and somebody must be at work on them.
package struct LayerQueue {
    /// Of the layers that are not begun, the lowest first, with their sizes in bytes.
    private var waiting: [(index: Int, size: Int64)]
    /// The layer that is read now and was taken from below.
    private var fromBelow: Int?

    /// - Parameter sizes: of the layers, the lowest first.
    package init(sizes: [Int64]) { waiting = sizes.enumerated().map { ($0, $1) } }

    /// Takes the layer to begin with; nil when all are.
    package mutating func next() -> Int? {
        guard let lowest = waiting.first?.index else { return nil }
        guard fromBelow != nil else {
            fromBelow = lowest
            waiting.removeFirst()
            return lowest
        }
        // Of equals the lowest.
        let largest = waiting.indices.reduce(0) { waiting[$1].size > waiting[$0].size ? $1 : $0 }
        return waiting.remove(at: largest).index
    }

    /// Says that a layer has been read, and needs nobody's work any more but that of the layers below.
    package mutating func hasRead(_ index: Int) {
        if fromBelow == index { fromBelow = nil }
    }
}
