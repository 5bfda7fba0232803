internal import Kernel

/// How much of the trash is deleted when a call returns.
package enum Deletion: Sendable {
    /// All of it.
    case complete
    /// What takes no longer than the start of a process: about a thousand files. `SnapshotStore.emptyTrash` deletes
    /// the rest, in this process or in another one.
    case started
}

/// The deletion of snapshots' directories. No other type of the store renames or deletes a snapshot's directory.
///
/// A directory is first renamed to `.removed-*` in its folder, after which it belongs to no snapshot, and then
/// deleted. Any number of processes may delete the same directories; one at a time empties the trash, so that the work
/// is done once.
struct Trash: Sendable {
    private static let prefix: StaticString = ".removed-"

    let backend: any SnapshotBackend
    let locks: Directory
    let snapshotter: String

    private var folder: Directory { backend.folder.directory }

    // MARK: What is in it

    /// Directories that are to be deleted.
    func contents() throws(SyscallFailure) -> [FileName] { try folder.names().filter(Self.contains) }

    static func contains(_ name: FileName) -> Bool { name.hasPrefix(prefix) }

    /// Directories that belong to no snapshot and are not in the trash yet: those with an unknown ID, and those with a
    /// leading dot, which backends use for directories that they are making.
    ///
    /// - Parameter known: the IDs of all snapshots, from the same write transaction.
    func orphans(known: Set<Int64>) throws(SyscallFailure) -> [FileName] {
        try folder.names().filter { name in
            if Self.contains(name) { return false }
            // A name with neither a number nor a dot is the backend's own.
            return Int64(name.description).map { !known.contains($0) } ?? name.hasPrefix(".")
        }
    }

    /// Whether a process is emptying the trash.
    func isBeingEmptied() throws(SyscallFailure) -> Bool {
        try TrashLock.isExistingFile(snapshotter, in: locks)
    }

    // MARK: Moving

    /// Makes the directory of a new snapshot, inside the transaction that inserts its row.
    func makeDirectory(of id: Int64) throws(SyscallFailure) {
        // A transaction that was rolled back has left a directory with this ID.
        try move(FileName(id: id))
        try folder.makeDirectory(FileName(id: id), mode: 0o700)
    }

    /// Moves a directory to the trash.
    ///
    /// - Returns: its new name; nil if the directory is missing.
    @discardableResult
    func move(_ name: FileName) throws(SyscallFailure) -> FileName? {
        let new = FileName(literal: "\(Self.prefix)\(UInt64.random(in: .min ... .max))")
        do {
            try folder.rename(name, to: new)
            return new
        } catch let error where error.isMissing {
            return nil
        }
    }

    /// Exchanges the directories of two snapshots, durably. If the damaged snapshot has no directory, the new one's
    /// takes its place.
    func replace(_ damaged: Int64, with new: Int64) throws(SyscallFailure) {
        let (damaged, new) = (FileName(id: damaged), FileName(id: new))
        do {
            try folder.exchange(damaged, new)
        } catch {
            // ZFS before 2.2 cannot exchange entries. A crash between the two steps leaves the damaged snapshot without a
            // directory, which is damage, too.
            guard error.isMissing || error.isInvalid else { throw error }
            try move(damaged)
            try folder.rename(new, to: damaged)
        }
        try folder.file.sync()
    }

    // MARK: Deleting

    /// Moves the directories of snapshots to the trash, all of them first, and then deletes them.
    ///
    /// A finished snapshot's row must have been removed by a durable transaction before: otherwise a power cut may
    /// bring the row back without its directory.
    func delete(directoriesOf ids: [Int64], _ deletion: Deletion) throws(StoreFailure) {
        try attempting("cannot remove a snapshot's directory") { () throws(SyscallFailure) in
            var names = [FileName]()
            for id in ids { if let name = try move(FileName(id: id)) { names.append(name) } }
            try backend.delete(names, deletion)
        }
    }

    /// Deletes about a thousand files of the trash.
    func beginDeleting() throws(SyscallFailure) { try backend.delete(try contents(), .started) }

    /// Deletes everything in the trash, also what other processes move there meanwhile.
    ///
    /// The holder of the lock looks again after it has released the lock, so a process that finds the lock taken may
    /// leave the work to the holder.
    ///
    /// - Parameters:
    ///   - waits: whether to wait for what another process is deleting.
    ///   - shouldContinue: polled during the work and the waiting; when it returns false, this returns.
    func empty(waits: Bool, shouldContinue: @escaping @Sendable () -> Bool) throws(SyscallFailure) {
        let due = Set(try contents())
        while shouldContinue(), case let names = try contents(), !names.isEmpty {
            if let lock = try TrashLock.tryTake(snapshotter, in: locks) {
                try backend.delete(names, .complete, shouldContinue: shouldContinue)
                withExtendedLifetime(lock) {}
            } else if waits, !due.isDisjoint(with: names) {
                Process.sleep(milliseconds: 20)
            } else {
                return
            }
        }
    }
}

extension SnapshotStore {
    /// As `Trash.empty`.
    ///
    /// - Throws: `.system`. Everything that can be deleted is deleted in any case.
    package func emptyTrash(
        waits: Bool, shouldContinue: @escaping @Sendable () -> Bool = { true }
    ) throws(StoreFailure) {
        try attempting("cannot delete what was removed") { () throws(SyscallFailure) in
            try trash.empty(waits: waits, shouldContinue: shouldContinue)
        }
    }

    /// Waits until the trash is deleted and its space can be used.
    ///
    /// - Parameter shouldContinue: polled during the work; when it returns false, this returns.
    package func freeTrash(shouldContinue: @escaping @Sendable () -> Bool) throws(StoreFailure) {
        try emptyTrash(waits: true, shouldContinue: shouldContinue)
        // ext4 counts freed blocks as free at once, and allocates them only after its journal is written.
        try syncFileSystem()
    }

    /// Whether anything is left to be deleted.
    package func hasTrash() throws(StoreFailure) -> Bool {
        try attempting("cannot look at what was removed") { () throws(SyscallFailure) in
            try !trash.contents().isEmpty
        }
    }
}
