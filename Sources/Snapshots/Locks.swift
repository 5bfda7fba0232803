internal import Kernel
internal import OCI

/// This process's life as a lock: whoever can take the lock of a run knows that the run is over, whatever its
/// pid was. What a run makes and does not finish goes with it.
package final class Run: Sendable {
    /// Of the file in `runs/`.
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
            // Between these two steps a reaper may have taken it for a leftover, and removed it.
            guard try lock.tryLock(), try folder.status(of: file) != nil else { continue }
            self.name = name
            self.folder = folder
            self.file = file
            self.lock = lock
            return
        }
    }

    deinit {
        // A file that stays is a leftover like any other: the next run removes it.
        try? folder.removeFile(file)
    }

    /// All runs but this one: those that live, and those that are over, each with its lock held so that nobody
    /// else reaps it.
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

/// Who unpacks which chain, between processes: one byte of one file a chain, held until the lock goes.
///
/// A collision of two chains makes one wait for the other and nothing worse. Take them in chain order, lowest
/// first.
package final class ChainLock: Sendable {
    static let file = FileName(literal: "chains")
    private let file: File

    private init(_ file: consuming File) { self.file = file }

    /// - Returns: nil while somebody else unpacks the chain.
    static func tryTake(_ chain: ChainID, in folder: Directory) throws(SyscallFailure) -> ChainLock? {
        let file = try folder.openOrCreateFile(file, mode: 0o600)
        // 60 bits of the digest: a file offset has 63.
        let offset = Int64(chain.digest.hex.prefix(15), radix: 16) ?? 0
        return try file.tryLock(at: offset) ? ChainLock(file) : nil
    }
}

/// Who deletes what a snapshotter's removals have set aside: one process at a time, so that it is done once.
///
/// A byte of the file that every store has: where the disk is full no other could be made.
final class TrashLock: Sendable {
    private let file: File

    private init(_ file: consuming File) { self.file = file }

    /// - Returns: nil while somebody else has it.
    static func tryTake(_ snapshotter: String, in folder: Directory) throws(SyscallFailure) -> TrashLock? {
        let file = try open(in: folder)
        return try file.tryLock(at: offset(of: snapshotter)) ? TrashLock(file) : nil
    }

    /// Whether somebody has it, found out without keeping anybody from taking it.
    static func isTaken(_ snapshotter: String, in folder: Directory) throws(SyscallFailure) -> Bool {
        try open(in: folder).isLocked(at: offset(of: snapshotter))
    }

    private static func open(in folder: Directory) throws(SyscallFailure) -> File {
        try folder.openOrCreateFile(SchemaLock.file, mode: 0o600)
    }

    /// The first byte is the database's.
    private static func offset(of snapshotter: String) -> Int64 {
        1 + Int64(SnapshotStore.supported.firstIndex(of: snapshotter) ?? 0)
    }
}

/// Who makes or upgrades a store's database: one process at a time.
final class SchemaLock: Sendable {
    static let file = FileName(literal: "schema")
    private let file: File

    /// Waits until nobody else has it.
    init(in folder: Directory) throws(SyscallFailure) {
        file = try folder.openOrCreateFile(Self.file, mode: 0o600)
        while try !file.tryLock() { Process.sleep(milliseconds: 5) }
    }
}
