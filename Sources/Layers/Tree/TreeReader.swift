internal import Archive
package import Kernel
package import Layout
package import OCI

/// Reads and verifies the layers of an image and merges them into a tree. It writes nothing.
package struct TreeReader: Sendable {
    let layout: ImageLayout
    let budget: Budget
    let cancellation: Cancellation
    private let memory: TreeMemory
    private let wantsDigests: Bool
    /// The layers added so far, by number.
    private let steps = Locked([Int32: LayerStep]())

    /// - Parameter digests: whether to compute the digests of files, which comparing trees needs.
    package init(
        _ layout: ImageLayout, budget: Budget, memory: TreeMemory = TreeMemory(), digests: Bool = false,
        cancellation: Cancellation
    ) {
        self.layout = layout
        self.budget = budget
        self.memory = memory
        self.cancellation = cancellation
        wantsDigests = digests
    }

    func step(_ number: Int32) -> LayerStep? { steps.withLock { $0[number] } }

    /// Result of adding one layer.
    package struct Result: Sendable {
        package let warnings: [LayerWarning]
        /// Entries in the archive.
        package let entries: Int
        /// Entries that affect the watched path.
        package let events: [PathEvent]
    }

    /// Merges one more layer onto a tree of all those below it.
    ///
    /// - Parameter path: a path to record the entries for; nil for none.
    package func add(
        _ step: LayerStep, to tree: inout ImageTree, tracking path: [FileName]? = nil,
        progress: @escaping @Sendable (Int64) -> Void = { _ in }
    ) throws(LayerFailure) -> Result {
        do {
            steps.withLock { $0[Int32(step.number)] = step }
            let before = memory.used
            var passes = LayerPasses(budget)
            var below = tree
            var layer = try passes.run { pass in
                let sink = TreeSink(
                    number: step.number, over: below, tracking: path, digests: wantsDigests,
                    account: pass.account, memory: memory)
                var interpreter = LayerInterpreter(pass, into: sink)
                try LayerStream(step, of: layout, pass.account, cancellation: cancellation)
                    .read(into: &interpreter, progress)
                return interpreter
            } readAccounts: { interpreter in
                try interpreter.sink.finish()
                var merged = below
                try merged.merge(interpreter.sink) { try cancellation.check() }
                return try readAccounts(of: merged)
            } finish: { interpreter in
                try interpreter.sink.finish()
                return interpreter
            } undo: {
                memory.reset(to: before)
            }
            // The tree is changed in place, without a copy, only if nothing else references it.
            below = ImageTree()
            layer.sink.releaseLower()
            try tree.merge(layer.sink) { try cancellation.check() }
            return Result(
                warnings: layer.sink.warnings, entries: layer.entries,
                events: layer.sink.watch?.events ?? [])
        } catch {
            throw LayerFailure.wrapping(error)
        }
    }
}
