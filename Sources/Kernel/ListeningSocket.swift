internal import CKernel
internal import Glibc
package import SystemPackage

/// A Unix stream socket on which this process listens (unix(7)).
package final class ListeningSocket: Sendable {
    package enum Failure: Error, Sendable {
        /// Another process listens there.
        case inUse
        /// The path exists and is not a socket.
        case notASocket
        /// The path is longer than a socket address can hold: 107 bytes.
        case pathTooLong
        /// The service manager passed something other than one listening socket.
        case unexpectedSockets(count: Int)
        /// Another user owns the existing file, or could replace it.
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

    /// Owned and closed by the server that accepts connections.
    package let descriptor: CInt
    /// Nil for a socket of the service manager.
    private let path: FilePath?
    /// Held while this process serves on the path, so that of two servers that start at once one fails with `inUse`.
    private let lock: Lock?

    /// The socket passed by the service manager (sd_listen_fds(3)); nil if it passed none.
    ///
    /// - Parameter environment: returns the value of a variable.
    package static func inherited(
        _ environment: (String) -> String?
    ) throws(Failure) -> ListeningSocket? {
        guard let process = environment("LISTEN_PID").flatMap(CInt.init), process == getpid() else {
            return nil
        }
        let count = environment("LISTEN_FDS").flatMap(Int.init) ?? 0
        guard count == 1, ck_adopt_listener(firstInherited) == 0 else {
            throw .unexpectedSockets(count: count)
        }
        return ListeningSocket(firstInherited, path: nil, lock: nil)
    }

    /// `SD_LISTEN_FDS_START`.
    private static let firstInherited: CInt = 3

    private init(_ descriptor: CInt, path: FilePath?, lock: Lock?) {
        self.descriptor = descriptor
        self.path = path
        self.lock = lock
    }

    /// Lock on a file next to the socket. The socket itself cannot be locked, because it is replaced.
    private final class Lock: Sendable {
        private let file: File

        private init(_ file: consuming File) { self.file = file }

        /// - Returns: nil if another process holds the lock.
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

    /// Listens on a path, with mode 0600. A socket left by a dead process of this user is replaced.
    ///
    /// - Precondition: no other thread creates files, because the umask is changed for a moment.
    /// - Throws: `.foreign` if another user could replace the socket, or owns the existing socket or lock file;
    ///   `.inUse` if another process listens there.
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

    /// Removes the socket at `path` if no process listens there.
    ///
    /// - Throws: `.inUse` if a process listens there.
    private static func removeStale(_ path: FilePath) throws(Failure) {
        guard let status = try? File.statusNotFollowing(path) else { return }
        guard status.kind == .socket else { throw .notASocket }
        guard status.uid == Process.effectiveUserID else {
            throw .foreign(.otherOwner(path: escaped(path), owner: status.uid))
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

    /// Removes the socket from the file system, so that no client can connect any more. A socket of the service manager
    /// stays.
    package func removeName() {
        guard let path else { return }
        _ = path.withPlatformString { unlink($0) }
    }
}

/// The service manager that started this process and expects its state: systemd, or another implementation of
/// sd_notify(3).
package struct ServiceManager: Sendable {
    private let address: String?

    /// - Parameter address: value of `NOTIFY_SOCKET`; nil if no notification is expected.
    package init(address: String?) { self.address = address }

    package enum State: String, Sendable {
        case ready = "READY=1"
        case stopping = "STOPPING=1"
    }

    /// Sends a state; errors are ignored, because the service works without the notification.
    package func notify(_ state: State) {
        if let address { _ = ck_notify(address, state.rawValue) }
    }
}
