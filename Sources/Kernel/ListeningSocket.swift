internal import CKernel
internal import Glibc
package import SystemPackage

/// A stream socket of the unix domain on which this process listens (unix(7)).
package final class ListeningSocket: Sendable {
    package enum Failure: Error, Sendable {
        /// Somebody listens there.
        case inUse
        /// Something is there that is no socket.
        case notASocket
        /// Longer than an address of a socket can be: 107 bytes.
        case pathTooLong
        /// The service manager has handed over something else than one socket to listen on.
        case notOneSocket(count: Int)
        /// Another user made what is there, or could replace it.
        case foreign(OwnershipFailure)
        case system(SyscallFailure)

        init(_ failure: SyscallFailure) {
            self =
                switch failure.errno {
                case .fileNameTooLong: .pathTooLong
                case Errno(rawValue: ENOTSOCK): .notASocket
                default: .system(failure)
                }
        }
    }

    /// Whoever accepts connections owns it, and closes it.
    package let descriptor: CInt
    /// Nil of a socket that is the service manager's.
    private let path: FilePath?
    /// Held while this process serves there, so that of two who start at once one gives way.
    private let lock: Lock?

    /// The socket that the service manager has handed over (sd_listen_fds(3)); nil if it has none.
    ///
    /// - Parameter environment: its value of a variable.
    package static func inherited(
        _ environment: (String) -> String?
    ) throws(Failure) -> ListeningSocket? {
        guard let process = environment("LISTEN_PID").flatMap(CInt.init), process == getpid() else {
            return nil
        }
        let count = environment("LISTEN_FDS").flatMap(Int.init) ?? 0
        guard count == 1, ck_adopt_listener(firstInherited) == 0 else { throw .notOneSocket(count: count) }
        return ListeningSocket(firstInherited, path: nil, lock: nil)
    }

    /// `SD_LISTEN_FDS_START`.
    private static let firstInherited: CInt = 3

    private init(_ descriptor: CInt, path: FilePath?, lock: Lock?) {
        self.descriptor = descriptor
        self.path = path
        self.lock = lock
    }

    /// A file beside the socket: what is locked must not be replaced.
    private final class Lock: Sendable {
        private let file: File

        private init(_ file: consuming File) { self.file = file }

        /// - Returns: nil while another process has it.
        static func taken(for socket: FilePath) throws(OwnershipFailure) -> Lock? {
            let path = socket.removingLastComponent()
            let folder = try Ownership.attempting { () throws(SyscallFailure) in try Directory(opening: path)
            }
            let name = FileName(component: (socket.lastName?.bytes ?? []) + Array(".lock".utf8))
            let file = try folder.openOrCreateOwnFile(name, in: path)
            return try Ownership.attempting { () throws(SyscallFailure) in try file.tryLock() }
                ? Lock(file) : nil
        }
    }

    /// Listens on a path that only the owner may connect to. A socket that a process of this user left is replaced.
    ///
    /// Not while other threads make files: the umask is changed for a moment.
    ///
    /// - Throws: `.foreign` for a folder in which another user could replace the socket, and for a socket or lock file of
    ///   another user's.
    package static func listening(at path: FilePath) throws(Failure) -> ListeningSocket {
        let lock: Lock?
        do throws(OwnershipFailure) {
            try Ownership.check(folder: path.removingLastComponent())
            lock = try Lock.taken(for: path)
        } catch {
            if case .system(let failure) = error { throw Failure(failure) }
            throw .foreign(error)
        }
        guard let lock else { throw .inUse }
        try removeStale(path)
        do throws(SyscallFailure) {
            let descriptor = try syscall("bind", escaped(path)) {
                path.withPlatformString { ck_listen_unix($0) }
            }
            return ListeningSocket(descriptor, path: path, lock: lock)
        } catch {
            throw Failure(error)
        }
    }

    private static func removeStale(_ path: FilePath) throws(Failure) {
        guard let status = try? File.statusNotFollowing(path) else { return }
        guard status.kind == .socket else { throw .notASocket }
        guard status.uid == Process.effectiveUserID else {
            throw .foreign(.foreignOwner(path: escaped(path), owner: status.uid))
        }
        do throws(SyscallFailure) {
            try syscall("connect", escaped(path)) { path.withPlatformString { ck_try_unix($0) } }
        } catch {
            if error.isMissing { return }
            guard error.errno == .connectionRefused else { throw Failure(error) }
            _ = path.withPlatformString { unlink($0) }
            return
        }
        throw .inUse
    }

    /// Takes its name away: nobody finds it any more. The service manager's stays.
    package func removeName() {
        guard let path else { return }
        _ = path.withPlatformString { unlink($0) }
    }
}

/// What started this process and waits to hear how it is (systemd, or whoever speaks sd_notify(3)).
package struct ServiceManager: Sendable {
    private let address: String?

    /// - Parameter address: the variable `NOTIFY_SOCKET`; nil if nobody wants to hear.
    package init(address: String?) { self.address = address }

    package enum State: String, Sendable {
        case ready = "READY=1"
        case stopping = "STOPPING=1"
    }

    /// Best effort: a service that cannot say that it is ready is ready all the same.
    package func tell(_ state: State) {
        if let address { _ = ck_notify(address, state.rawValue) }
    }
}
