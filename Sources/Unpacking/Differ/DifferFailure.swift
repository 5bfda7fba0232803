internal import Layers
internal import Layout
internal import Mounts
internal import OCI
internal import Snapshots

/// Why a differ has failed, classified by what the caller can do.
package enum DifferFailure: Error, Sendable {
    /// Another differ may support the request.
    case unsupported(String)
    /// The request is invalid.
    case invalidArgument(String)
    /// The current state of the mounts or of the store forbids the request.
    case failedPrecondition(String)
    /// The work was started and has failed.
    case failed(UnpackError)
    /// The error of the closure that receives the bytes of a layer.
    case output(any Error)
}

extension DifferFailure {
    /// Converts any error.
    ///
    /// - Parameter what: beginning of the message: what the work was about.
    static func wrapping(_ error: any Error, _ what: String) -> DifferFailure {
        switch error {
        case let failure as DifferFailure: return failure
        case ContainerdTree.Failure.unsupported(let reason): return .unsupported(reason)
        case ContainerdTree.Failure.invalid(let reason): return .invalidArgument(reason)
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
