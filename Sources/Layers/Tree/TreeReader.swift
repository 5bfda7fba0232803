internal import Archive
package import Kernel
package import Layout
package import OCI
package import Streams

/// Reads the layers of an image into a tree: each blob once and verified, nothing is written.
package struct TreeReader: Sendable {
    let layout: ImageLayout
    let budget: Budget
    let cancellation: Cancellation
    private let memory: TreeMemory
    private let wantsDigests: Bool
    /// The layers added so far, by their numbers.
    private let steps = Guarded([Int32: LayerStep]())

    /// - Parameter digests: whether the contents of files will be compared.
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

    /// What came of one layer.
    package struct Added: Sendable {
        package let warnings: [LayerWarning]
        /// Entries in the archive.
        package let entries: Int
        /// What they did about the path that was asked for.
        package let touches: [PathTouch]
    }

    /// Merges one more layer onto a tree of all those below it.
    ///
    /// - Parameter path: a path whose history the caller wants.
    package func add(
        _ step: LayerStep, to tree: inout ImageTree, watching path: [FileName]? = nil,
        progress: @escaping @Sendable (Int64) -> Void = { _ in }
    ) throws(LayerFailure) -> Added {
        do {
            steps.withLock { $0[Int32(step.number)] = step }
            let before = memory.used
            var passes = LayerPasses(budget)
            var below = tree
            var layer = try passes.run { pass in
                let sink = TreeSink(
                    number: step.number, over: below, watching: path, digests: wantsDigests,
                    account: pass.account, memory: memory)
                var interpreter = LayerInterpreter(pass, into: sink)
                try LayerStream(step, of: layout, pass.account, cancellation: cancellation)
                    .read(into: &interpreter, progress)
                return interpreter
            } readAccounts: { interpreter in
                var merged = below
                try merged.lay(interpreter.sink) { try cancellation.check() }
                return try readAccounts(of: merged)
            } finish: { interpreter in
                interpreter
            } undo: {
                memory.reset(to: before)
            }
            // No other copy of the tree may be left when it is changed in place.
            below = ImageTree()
            layer.sink.releaseLower()
            try tree.lay(layer.sink) { try cancellation.check() }
            return Added(
                warnings: layer.sink.warnings, entries: layer.entries,
                touches: layer.sink.watch?.touches ?? [])
        } catch {
            throw LayerFailure.wrapping(error)
        }
    }
}
