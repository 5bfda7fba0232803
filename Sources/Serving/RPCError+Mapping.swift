internal import GRPCCore
internal import Kernel
internal import Snapshots
internal import Streams
internal import Unpacking

/// Failures as gRPC's codes, which are what containerd acts on (containerd `errdefs`, `errgrpc`): a message is for people.
extension RPCError {
    /// Describes any error for a response and for the log.
    ///
    /// Nothing of a response that this process got as a client is passed on but code and message: reserved header fields
    /// in its metadata would end the connection to our own client.
    init(telling error: any Error) {
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

    /// Bytes. A message is sent as a header field, percent-encoded: a byte that is not printable ASCII takes three. A field
    /// that is longer than the client allows (16 KiB) ends the connection, with all other calls on it.
    private static let longestMessage = 4096

    private init(_ failure: DifferFailure) {
        switch failure {
        // So that containerd asks its next differ.
        case .unsupported(let reason): self.init(code: .unimplemented, message: reason)
        case .invalidArgument(let reason): self.init(code: .invalidArgument, message: reason)
        case .failedPrecondition(let reason): self.init(code: .failedPrecondition, message: reason)
        case .failed(let error): self.init(telling: error)
        case .output(let error): self.init(telling: error)
        }
    }

    /// Messages end as containerd's own do, by which its commands tell people what kind of refusal it is.
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
            case .database, .internalError: (.internalError, nil)
            }
        self.init(code: code, message: failure.description + (kind.map { ": \($0)" } ?? ""))
    }
}

extension RPCError.Code {
    fileprivate init(_ failure: SyscallFailure) {
        self =
            failure.isOutOfSpace || failure.isRefusedProcess
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
    /// The string, or as much of it as fits into `length` bytes of UTF-8, with an ellipsis.
    func truncated(to length: Int) -> String {
        utf8.count > length ? String(decoding: utf8.prefix(length), as: UTF8.self) + "…" : self
    }
}
