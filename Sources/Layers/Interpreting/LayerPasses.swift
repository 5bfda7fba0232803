internal import Kernel

/// The passes over one layer until it was applied under assumptions that hold.
///
/// A pass is repeated if the layer was begun before the layers below were known and they have a symlink on the path of an
/// entry; if entries went through a symlink of those layers that the layer hides later; and if an access control list names
/// users that the layer itself may bring.
struct LayerPasses {
    struct Pass {
        let account: Budget.Account
        /// Symlinks of the layers below that earlier passes found hidden by this layer.
        let ignoredSymlinks: Set<[FileName]>
        /// Nil until an entry has named accounts.
        let accounts: ImageAccounts?
    }

    /// Two passes suffice for a stale assumption, and for a layer that goes through a symlink first and hides it later; a
    /// layer that does so in several steps takes more.
    private static let maximum = 16

    private let budget: Budget
    private var ignoredSymlinks = Set<[FileName]>()
    private var accounts: ImageAccounts?

    init(_ budget: Budget) { self.budget = budget }

    /// Runs passes until one holds.
    ///
    /// - Parameters:
    ///   - read: applies all entries; nil if the pass has to be repeated.
    ///   - readAccounts: completes the layer without the lists, and reads the accounts of the merged tree.
    ///   - finish: completes the layer.
    ///   - undo: removes what a pass has made.
    /// - Throws: what these throw, but for `StaleAssumption`; a refusal after too many passes.
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
        throw LayerFailure(.refused("its whiteouts and the symlinks below hide each other without end"))
    }
}
