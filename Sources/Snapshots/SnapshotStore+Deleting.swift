internal import Kernel

/// How much of what was set aside is deleted when a call returns.
package enum Deletion: Sendable {
    /// All of it.
    case whole
    /// What takes no longer than starting a process: a thousand files or so. The rest is left to `sweep`, by whomever.
    case begun
}

/// Deleting what is set aside. Any number of processes may delete the same; one at a time sweeps, so that it is not done
/// twice.
extension SnapshotStore {
    /// Deletes all that is set aside, also what others set aside meanwhile.
    ///
    /// Whoever finds the lock taken can rely on its holder, who looks again when it has let go of the lock.
    ///
    /// - Parameters:
    ///   - waits: whether what another process is deleting has to be gone, too.
    ///   - isWanted: polled while this deletes and waits; when it returns false, this returns and the rest stays set aside.
    /// - Throws: `.system`; what could be deleted is gone all the same.
    package func sweep(
        waits: Bool, isWanted: @escaping @Sendable () -> Bool = { true }
    ) throws(StoreFailure) {
        try attempting("cannot delete what was removed") { () throws(SyscallFailure) in
            let due = Set(try namesSetAside())
            while isWanted(), case let names = try namesSetAside(), !names.isEmpty {
                if let lock = try SweepLock.tryTake(snapshotter, in: locks) {
                    try backend.delete(names, .whole, isWanted: isWanted)
                    withExtendedLifetime(lock) {}
                } else if waits, !due.isDisjoint(with: names) {
                    Process.sleep(milliseconds: 20)
                } else {
                    return
                }
            }
        }
    }

    /// Waits until all that is set aside is deleted, and its room can be used.
    ///
    /// - Parameter isWanted: polled during the work; when it returns false, this returns.
    package func makeRoom(isWanted: @escaping @Sendable () -> Bool) throws(StoreFailure) {
        try sweep(waits: true, isWanted: isWanted)
        // ext4 counts freed blocks at once, and gives them out again when its journal has been written.
        try syncFileSystem()
    }

    /// Whether anything is left to be deleted.
    package func hasRemovals() throws(StoreFailure) -> Bool {
        try attempting("cannot look at what was removed") { () throws(SyscallFailure) in
            try !namesSetAside().isEmpty
        }
    }

    func namesSetAside() throws(SyscallFailure) -> [FileName] {
        try backend.folder.directory.names().filter { $0.isRemoved }
    }

    /// Renames directories aside, all of them first, and then deletes them.
    ///
    /// Of what is finished, only after a durable transaction has removed the rows: else a power cut may bring a row back,
    /// and not its directory.
    func deleteDirectories(of ids: [Int64], _ deletion: Deletion = .whole) throws(StoreFailure) {
        try attempting("cannot remove a snapshot's directory") { () throws(SyscallFailure) in
            var aside = [FileName]()
            for id in ids { if let name = try setAside(FileName(id: id)) { aside.append(name) } }
            try backend.delete(aside, deletion)
        }
    }
}
