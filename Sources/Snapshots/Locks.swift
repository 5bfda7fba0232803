internal import Kernel
internal import OCI

/// A process that writes to the store, as a lock that it holds while it lives: another process that can take the lock
/// knows that the run has ended, whatever the pid was. Unfinished snapshots of an ended run are removed.
package final class Run: Sendable {
    /// The name of its file in `runs/`.
    package let name: String
    private let folder: Directory
    private let file: FileName
    private let lock: File

    /// Makes and locks a file of a random name in `runs/`.
    init(in folder: Directory) throws(SyscallFailure) {
        while true {
            let name = String(UInt64.random(in: .min ... .max), radix: 36)
            let file = FileName(literal: name)
            guard let lock = try folder.createFile(file, mode: 0o600) else { continue }
            // Between these two steps a recovery may have taken the file for that of an ended run, and removed it.
            guard try lock.tryLock(), try folder.status(of: file) != nil else { continue }
            self.name = name
            self.folder = folder
            self.file = file
            self.lock = lock
            return
        }
    }

    deinit {
        // If this fails, the next run removes the file.
        try? folder.removeFile(file)
    }

    /// All runs but this one: the living ones, and the ended ones, each with its lock held so that no other process
    /// recovers from it.
    static func all(
        in folder: Directory, but own: Run
    ) throws(SyscallFailure) -> (living: [String], ended: [EndedRun]) {
        var living = [String]()
        var ended = [EndedRun]()
        for name in try folder.names() where name != own.file {
            guard let file = try folder.openExistingFile(name) else { continue }
            if try file.tryLock() {
                ended.append(EndedRun(name: name, lock: file))
            } else {
                living.append(name.description)
            }
        }
        return (living, ended)
    }
}

/// A run whose lock could be taken.
final class EndedRun: Sendable {
    let name: FileName
    private let lock: File

    init(name: FileName, lock: consuming File) {
        self.name = name
        self.lock = lock
    }
}

/// The exclusive right to unpack a chain, between processes: a lock on one byte of one file, held until the value is
/// destroyed.
///
/// If two chains collide, one waits for the other. Locks are taken in chain order, lowest first, so that two processes
/// cannot wait for each other.
package final class ChainLock: Sendable {
    static let file = FileName(literal: "chains")
    private let file: File

    private init(_ file: consuming File) { self.file = file }

    /// - Returns: nil while another process unpacks the chain.
    static func tryTake(_ chain: ChainID, in folder: Directory) throws(SyscallFailure) -> ChainLock? {
        let file = try folder.openOrCreateFile(file, mode: 0o600)
        // 60 bits of the digest: a file offset has 63.
        let offset = Int64(chain.digest.hex.prefix(15), radix: 16) ?? 0
        return try file.tryLock(at: offset) ? ChainLock(file) : nil
    }
}

/// The exclusive right to empty a snapshotter's trash: one process at a time, so that the work is done once.
///
/// A lock on a byte of a file that every store has: on a full disk no other file could be made.
final class TrashLock: Sendable {
    private let file: File

    private init(_ file: consuming File) { self.file = file }

    /// - Returns: nil while another process has it.
    static func tryTake(_ snapshotter: String, in folder: Directory) throws(SyscallFailure) -> TrashLock? {
        let file = try open(in: folder)
        return try file.tryLock(at: offset(of: snapshotter)) ? TrashLock(file) : nil
    }

    /// Whether a process has it. The query does not take the lock.
    static func isExistingFile(_ snapshotter: String, in folder: Directory) throws(SyscallFailure) -> Bool {
        try open(in: folder).isLocked(at: offset(of: snapshotter))
    }

    private static func open(in folder: Directory) throws(SyscallFailure) -> File {
        try folder.openOrCreateFile(SchemaLock.file, mode: 0o600)
    }

    /// The first byte is `SchemaLock`'s.
    private static func offset(of snapshotter: String) -> Int64 {
        1 + Int64(SnapshotStore.supported.firstIndex(of: snapshotter) ?? 0)
    }
}

/// The exclusive right to make or upgrade a store's database.
final class SchemaLock: Sendable {
    static let file = FileName(literal: "schema")
    private let file: File

    /// Waits until no other process has it.
    init(in folder: Directory) throws(SyscallFailure) {
        file = try folder.openOrCreateFile(Self.file, mode: 0o600)
        while try !file.tryLock() { Process.sleep(milliseconds: 5) }
    }
}
