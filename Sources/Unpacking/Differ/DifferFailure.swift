internal import Layers
internal import Layout
internal import Mounts
internal import OCI
internal import Snapshots

/// Why a differ did not do what it was asked for, by what whoever asks can do about it.
package enum DifferFailure: Error, Sendable {
    /// Somebody else may be able to: another differ is to be asked.
    case unsupported(String)
    /// Nobody can do that.
    case invalidArgument(String)
    /// Not as things are.
    case failedPrecondition(String)
    /// It was tried.
    case failed(UnpackError)
    /// Whoever takes the bytes of a layer did not.
    case output(any Error)
}

extension DifferFailure {
    /// - Parameter what: names what it is about, for messages.
    static func wrapping(_ error: any Error, _ what: String) -> DifferFailure {
        switch error {
        case let failure as DifferFailure: return failure
        case ForeignTree.Failure.unsupported(let reason): return .unsupported(reason)
        case ForeignTree.Failure.invalid(let reason): return .invalidArgument(reason)
        case let failure as StoreFailure where failure.kind == .failedPrecondition:
            return .failedPrecondition(failure.description)
        case let failure as LayerFailure:
            if case .unsupported(let reason) = failure.cause { return .unsupported(reason) }
            return .failed(UnpackError(failure, in: what))
        default: break
        }
        do throws(UnpackError) {
            return try attempt { throw error }
        } catch {
            return .failed(error.prefixed(with: "\(what): "))
        }
    }
}
