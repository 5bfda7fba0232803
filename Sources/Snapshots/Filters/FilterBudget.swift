/// The work allowed for all filters of one call together: any client may send filters, and calls share a few threads.
package struct FilterBudget {
    /// A step takes 15 to 30 ns in a release build, so that a call ends after about a second. An alternation of ten
    /// words, `a|b|…`, takes 3,000 steps for a name of 90 characters, and 30 million for 10,000 snapshots.
    package static let stepsOfCall = 40_000_000

    package private(set) var steps: Int

    package init(steps: Int = stepsOfCall) { self.steps = steps }

    /// - Throws: `.resourceExhausted` if fewer steps are left.
    mutating func spend(_ count: Int) throws(StoreFailure) {
        steps -= count
        guard steps < 0 else { return }
        throw StoreFailure(
            .resourceExhausted, "the filters take too much work for the snapshots that there are",
            hint: "use == or simpler regular expressions")
    }
}
