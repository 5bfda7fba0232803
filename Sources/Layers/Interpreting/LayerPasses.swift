internal import Kernel

/// Applies one layer in as many passes as are needed until all assumptions hold.
///
/// A pass is repeated if the layer was started before the layers below were known and they have a symlink on the path
/// of an entry; if entries traversed a symlink of those layers that the layer hides later; and if an access control
/// list names accounts, which the layer itself may contain.
struct LayerPasses {
    struct Pass {
        let account: Budget.Account
        /// Symlinks of the layers below that earlier passes found hidden by this layer.
        let ignoredSymlinks: Set<[FileName]>
        /// Nil until a pass has found an entry that names accounts.
        let accounts: ImageAccounts?
    }

    /// Two passes suffice for a stale assumption, and for a layer that traverses a symlink first and hides it later;
    /// a layer that does so in several steps needs more.
    private static let maximum = 16

    private let budget: Budget
    private var ignoredSymlinks = Set<[FileName]>()
    private var accounts: ImageAccounts?

    init(_ budget: Budget) { self.budget = budget }

    /// Runs passes until one is valid.
    ///
    /// - Parameters:
    ///   - read: applies all entries; nil if the pass has to be repeated.
    ///   - readAccounts: completes the layer without the lists, and reads the accounts of the merged tree.
    ///   - finish: completes the layer.
    ///   - undo: removes the files that a pass has created.
    /// - Throws: errors of these except `StaleAssumption`; `.refused` after too many passes.
    mutating func run<Sink: EntrySink, Result>(
        read: (Pass) throws -> LayerInterpreter<Sink>?,
        readAccounts: (inout LayerInterpreter<Sink>) throws -> ImageAccounts,
        finish: (inout LayerInterpreter<Sink>) throws -> Result,
        undo: () throws -> Void
    ) throws -> Result {
        for _ in 1...Self.maximum {
            let pass = Pass(
                account: Budget.Account(budget), ignoredSymlinks: ignoredSymlinks, accounts: accounts)
            do {
                if var interpreter = try read(pass) {
                    if !interpreter.staleSymlinks.isEmpty {
                        ignoredSymlinks.formUnion(interpreter.staleSymlinks)
                    } else if interpreter.accounts.areMissing {
                        accounts = try readAccounts(&interpreter)
                    } else {
                        let result = try finish(&interpreter)
                        pass.account.keep()
                        return result
                    }
                }
            } catch is StaleAssumption {
                // The layers below are known now.
            }
            try undo()
        }
        throw LayerFailure(
            .refused("its whiteouts and the symlinks of the layers below contradict each other"))
    }
}
