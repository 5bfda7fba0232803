internal import Kernel
internal import SystemPackage

/// A backend whose snapshots are volumes outside of the store's directory: thin devices, datasets.
///
/// `<id>/<tree>` is a link to the volume. The number at its end, not the name of the directory, says which volume a
/// snapshot has: `Trash` renames and exchanges directories.
protocol VolumeBackend: SnapshotBackend {
    /// Deletes a volume; a missing one is no error.
    ///
    /// - Throws: EBUSY if it is used.
    func deleteVolume(_ number: Int64) throws(SyscallFailure)
}

extension VolumeBackend {
    /// How long a step is repeated while the volume is busy: the end of a use takes a moment.
    static var patience: Duration { .seconds(2) }

    /// Links the directory of a new snapshot to its volume, before the volume is made: what an interrupted run has made
    /// is found by its link.
    func link(_ id: Int64, to volume: String) throws(SyscallFailure) {
        try folder.open(id).makeSymlink(Self.tree, target: Array(volume.utf8))
    }

    func number(of id: Int64) throws(SyscallFailure) -> Int64 {
        guard let number = try number(in: FileName(id: id)) else {
            throw SyscallFailure(
                "readlinkat", path: escaped(folder.path(of: id).appending(Self.tree.description)),
                errno: .noSuchFileOrDirectory)
        }
        return number
    }

    /// The number of the volume of a directory; nil if it has none.
    private func number(in name: FileName) throws(SyscallFailure) -> Int64? {
        do {
            return Self.number(atEndOf: try folder.directory.open(name).readLink(Self.tree))
        } catch {
            if error.isMissing { return nil }
            throw error
        }
    }

    static func number(atEndOf target: [UInt8]) -> Int64? {
        let digits = target.reversed().prefix { (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0) }
        return Int64(String(decoding: digits.reversed(), as: UTF8.self))
    }

    /// Deletes each volume before its directory, which is all that knows the volume's number. A volume that is used
    /// stays, with its directory.
    func delete(
        _ names: [FileName], _ deletion: Deletion, shouldContinue: @escaping @Sendable () -> Bool
    ) throws(SyscallFailure) {
        var failure: SyscallFailure?
        var volumes = [(name: FileName, number: Int64?)]()
        for name in names { volumes.append((name, try number(in: name))) }
        // A snapshot has a larger number than its parent, which some volumes must outlive.
        for (name, number) in volumes.sorted(by: { $0.number ?? 0 > $1.number ?? 0 }) where shouldContinue() {
            do throws(SyscallFailure) {
                if let number { try delete(number, waits: deletion == .complete, shouldContinue) }
                try removeDirectory(name)
            } catch {
                failure = failure ?? error
            }
        }
        if let failure, deletion == .complete { throw failure }
    }

    private func removeDirectory(_ name: FileName) throws(SyscallFailure) {
        do {
            try folder.directory.removeTree(name)
        } catch {
            // Another process has deleted it.
            if !error.isMissing { throw error }
        }
    }

    private func delete(
        _ number: Int64, waits: Bool, _ shouldContinue: () -> Bool
    ) throws(SyscallFailure) {
        let clock = ContinuousClock()
        let end = clock.now + Self.patience
        while true {
            do throws(SyscallFailure) {
                return try deleteVolume(number)
            } catch {
                let isLast = !waits || clock.now > end || !shouldContinue()
                guard error.errno == .resourceBusy, !isLast else { throw error }
                Process.sleep(milliseconds: 10)
            }
        }
    }
}
