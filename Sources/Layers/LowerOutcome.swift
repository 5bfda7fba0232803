package import Kernel
package import Streams

/// The outcome of the layers below the one that is applied; they may be applied at the same time.
package enum LowerOutcome: Sendable {
    case complete(LowerView)
    /// One of them failed: the layer above is useless.
    case failed

    /// - Throws: `Cancelled` if one of the layers failed.
    package func view() throws(Cancelled) -> LowerView {
        guard case .complete(let view) = self else { throw Cancelled(.failure) }
        return view
    }
}

extension Promise<LowerOutcome> {
    package convenience init(_ view: LowerView) { self.init(.complete(view)) }

    package func fulfil(_ view: LowerView) { fulfil(.complete(view)) }
}
