internal import GRPCCore

/// The log entry of one call.
package struct CallRecord: Encodable, Sendable {
    package enum Level: String, Encodable, Sendable, Comparable {
        case debug, info, error

        private var rank: Int { self == .debug ? 0 : self == .info ? 1 : 2 }

        package static func < (left: Self, right: Self) -> Bool { left.rank < right.rank }
    }

    package let level: Level
    /// The name of the RPC, e.g. `Prepare`, or of a background task.
    package let method: String
    package let snapshotter: String?
    package let key: String?
    package let name: String?
    package let parent: String?
    /// The digest of the blob that is applied or was made.
    package let digest: String?
    package let milliseconds: Int64
    /// The name of the gRPC status code (grpc `statuscodes.md`): `OK`, `NOT_FOUND`.
    package let code: String
    /// The error message; nil after success.
    package let message: String?
}

/// A call of a client, or a background task that it has left.
struct Call: Sendable {
    let method: String
    /// Whether the client asks for a change. Such calls are logged at level info, successful others at debug.
    let isChange: Bool
    var snapshotter: String?
    var key: String?
    var name: String?
    var parent: String?
    var digest: String?

    /// Bytes. A request may have 16 MiB, all of them in a single field.
    private static let longestField = 4096

    func record(_ duration: Duration, _ error: RPCError? = nil) -> CallRecord {
        func field(_ text: String?) -> String? { text?.truncated(to: Self.longestField) }
        // Clients probe for snapshots, and cancel calls: these answers are not failures.
        let isExpected = error.map { [.notFound, .alreadyExists, .cancelled].contains($0.code) } ?? true
        return CallRecord(
            level: !isExpected ? .error : isChange ? .info : .debug, method: method,
            snapshotter: field(snapshotter), key: field(key), name: field(name), parent: field(parent),
            digest: field(digest),
            milliseconds: duration / .milliseconds(1) > 0 ? Int64(duration / .milliseconds(1)) : 0,
            code: error?.code.name ?? "OK", message: error?.message)
    }
}

extension RPCError.Code {
    fileprivate var name: String {
        switch self {
        case .cancelled: "CANCELLED"
        case .invalidArgument: "INVALID_ARGUMENT"
        case .deadlineExceeded: "DEADLINE_EXCEEDED"
        case .notFound: "NOT_FOUND"
        case .alreadyExists: "ALREADY_EXISTS"
        case .permissionDenied: "PERMISSION_DENIED"
        case .resourceExhausted: "RESOURCE_EXHAUSTED"
        case .failedPrecondition: "FAILED_PRECONDITION"
        case .aborted: "ABORTED"
        case .outOfRange: "OUT_OF_RANGE"
        case .unimplemented: "UNIMPLEMENTED"
        case .internalError: "INTERNAL"
        case .unavailable: "UNAVAILABLE"
        case .dataLoss: "DATA_LOSS"
        case .unauthenticated: "UNAUTHENTICATED"
        default: "UNKNOWN"
        }
    }
}
