/// Finds the word that a user probably meant.
package enum SimilarWord {
    /// Returns the candidate that is most similar to a word; nil if none is similar enough. Of equally similar ones it is
    /// the first.
    package static func closest(to word: String, among candidates: [String]) -> String? {
        // A third of the letters may differ: 'imagse' is 'images', and 'ls' is not 'rm'.
        let limit = max(1, word.utf8.count / 3)
        let near = candidates.map { (candidate: $0, distance: distance(Array(word.utf8), Array($0.utf8))) }
            .filter {
                $0.distance <= limit && $0.distance < max(word.utf8.count, $0.candidate.utf8.count) / 2 + 1
            }
        if let best = near.min(by: { $0.distance < $1.distance }) { return best.candidate }
        // The beginning of a single candidate: 'snap' is 'snapshot'.
        let longer = candidates.filter { word.utf8.count > 2 && $0.hasPrefix(word) }
        return longer.count == 1 ? longer.first : nil
    }

    /// The number of insertions, deletions, substitutions and swaps of neighbors that make one word of the other (optimal
    /// string alignment).
    private static func distance(_ left: [UInt8], _ right: [UInt8]) -> Int {
        var previous = [Int]()
        var row = Array(0...right.count)
        for i in left.indices {
            var next = [i + 1]
            for j in right.indices {
                let isSame = left[i] == right[j]
                var best = min(row[j + 1] + 1, next[j] + 1, row[j] + (isSame ? 0 : 1))
                if i > 0, j > 0, left[i] == right[j - 1], left[i - 1] == right[j] {
                    best = min(best, previous[j - 1] + 1)
                }
                next.append(best)
            }
            (previous, row) = (row, next)
        }
        return row.last ?? left.count
    }
}
