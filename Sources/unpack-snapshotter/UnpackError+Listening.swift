internal import Kernel
internal import SystemPackage
internal import Unpacking

extension UnpackError {
    /// - Parameter path: the address to listen on.
    init(_ failure: ListeningSocket.Failure, at path: FilePath) {
        let place = "'\(escaped(path))'"
        switch failure {
        case .inUse:
            self.init(
                .unavailable, "another process listens on \(place)",
                hint: "stop it, or listen elsewhere with --address SOCKET")
        case .notASocket:
            self.init(
                .usage, "\(place) exists and is not a socket",
                hint: "name another with --address SOCKET, or remove it")
        case .pathTooLong:
            self.init(.usage, "the address \(place) has more than 107 bytes", hint: "name a shorter one")
        case .unexpectedSockets(let count):
            self.init(
                .usage,
                "the service manager has passed \(count) descriptors, not one socket to listen on",
                hint: "give the .socket unit one ListenStream=, a path")
        case .foreign(let failure): self.init(failure, "cannot listen on \(place)")
        case .system(let failure): self.init(failure)
        }
    }
}
