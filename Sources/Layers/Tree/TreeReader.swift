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

    /// As `LayerPipeline` has it.
    private static let maximumPasses = 16

    /// Lays one more layer over a tree of all those below it.
    ///
    /// - Parameter path: one that somebody wants to know the history of.
    package func add(
        _ step: LayerStep, to tree: inout ImageTree, watching path: [FileName]? = nil,
        progress: @escaping @Sendable (Int64) -> Void = { _ in }
    ) throws(LayerFailure) -> Added {
        do {
            steps.withLock { $0[Int32(step.number)] = step }
            var known = Set<[FileName]>()
            var accounts: ImageAccounts?
            for _ in 1...Self.maximumPasses {
                let account = Budget.Account(budget)
                let before = memory.used
                var outline = LayerOutline(
                    number: step.number, over: tree, known: known, accounts: accounts, watching: path,
                    digests: wantsDigests, account: account, memory: memory)
                try LayerStream(step, of: layout, account, cancellation: cancellation)
                    .read(into: &outline, progress)
                if outline.misread.isEmpty, outline.accounts.areMissing {
                    var merged = tree
                    try merged.lay(outline) { try cancellation.check() }
                    accounts = try readAccounts(of: merged)
                } else if outline.misread.isEmpty {
                    account.keep()
                    let added = Added(
                        warnings: outline.warnings, entries: outline.entries,
                        touches: outline.watch?.touches ?? [])
                    outline.release()
                    try tree.lay(outline) { try cancellation.check() }
                    return added
                }
                known.formUnion(outline.misread)
                memory.reset(to: before)
            }
            throw LayerFailure(.refused("its whiteouts and the symlinks below hide each other without end"))
        } catch {
            throw LayerFailure.wrapping(error)
        }
    }
}
