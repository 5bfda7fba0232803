/// The work that is allowed for several matches together. A step takes 15 to 30 ns in a release build.
package struct StepBudget: Sendable {
    /// The budget is spent before the result is known.
    package struct Exhausted: Error {}

    /// The number of steps that are left; negative after `Exhausted`.
    package private(set) var steps: Int

    package init(steps: Int) { self.steps = steps }

    package mutating func spend(_ count: Int) throws(Exhausted) {
        steps -= count
        if steps < 0 { throw Exhausted() }
    }
}
