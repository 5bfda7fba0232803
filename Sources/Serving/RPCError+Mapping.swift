internal import GRPCCore
internal import Kernel
internal import Snapshots
internal import Unpacking

/// Conversion of errors to gRPC status codes. containerd acts on the code (containerd `errdefs`, `errgrpc`); the
/// message is for users.
extension RPCError {
    /// Describes any error, for a response and for the log.
    ///
    /// Of an error that containerd has returned to this process, only code and message are kept: reserved header fields
    /// in its metadata would end the connection to the client.
    init(describing error: any Error) {
        switch error {
        case let error as RPCError: self.init(code: error.code, message: error.message)
        case let failure as StoreFailure: self.init(failure)
        case let failure as SyscallFailure: self.init(code: Code(failure), message: "\(failure)")
        case let failure as DifferFailure: self.init(failure)
        case let error as UnpackError: self.init(code: Code(error.code), message: error.message)
        case is Cancelled: self.init(code: .cancelled, message: "cancelled")
        default: self.init(code: .internalError, message: "\(error)")
        }
        message = message.truncated(to: Self.longestMessage)
    }

    /// Bytes. A message is sent as a percent-encoded header field, where a byte that is not printable ASCII takes
    /// three. A field that is longer than the client allows (16 KiB) ends the connection and all calls on it.
    private static let longestMessage = 4096

    private init(_ failure: DifferFailure) {
        switch failure {
        // containerd tries its next differ after this code only.
        case .unsupported(let reason): self.init(code: .unimplemented, message: reason)
        case .invalidArgument(let reason): self.init(code: .invalidArgument, message: reason)
        case .failedPrecondition(let reason): self.init(code: .failedPrecondition, message: reason)
        case .failed(let error): self.init(describing: error)
        case .output(let error): self.init(describing: error)
        }
    }

    /// The suffix of a message is containerd's own text for its code, which containerd's commands show to users.
    private init(_ failure: StoreFailure) {
        let (code, kind): (Code, String?) =
            switch failure.kind {
            case .notFound: (.notFound, "not found")
            case .alreadyExists: (.alreadyExists, "already exists")
            case .invalidArgument: (.invalidArgument, "invalid argument")
            case .failedPrecondition: (.failedPrecondition, "failed precondition")
            case .resourceExhausted: (.resourceExhausted, "resource exhausted")
            case .unavailable, .busy: (.unavailable, "unavailable")
            case .system(let cause): (Code(cause), nil)
            case .notPermitted: (.permissionDenied, nil)
            case .outOfSpace: (.resourceExhausted, nil)
            case .cancelled: (.cancelled, nil)
            case .database, .unusableFile, .internalError: (.internalError, nil)
            }
        self.init(code: code, message: failure.description + (kind.map { ": \($0)" } ?? ""))
    }
}

extension RPCError.Code {
    fileprivate init(_ failure: SyscallFailure) {
        self =
            failure.isOutOfSpace || failure.isProcessRefused
            ? .resourceExhausted : failure.isPermission ? .permissionDenied : .internalError
    }

    fileprivate init(_ code: UnpackError.Code) {
        switch code {
        case .usage: self = .invalidArgument
        case .data: self = .dataLoss
        case .notFound: self = .notFound
        case .unavailable: self = .unavailable
        case .internal, .io: self = .internalError
        case .busy: self = .unavailable
        case .permission: self = .permissionDenied
        case .interrupted: self = .cancelled
        }
    }
}

extension String {
    /// The string, truncated to at most `length` bytes of UTF-8 with an ellipsis after them if it is longer.
    package func truncated(to length: Int) -> String {
        guard utf8.count > length else { return self }
        // The index of a scalar view is rounded down to a whole scalar.
        return String(unicodeScalars[..<utf8.index(startIndex, offsetBy: length)]) + "…"
    }
}
