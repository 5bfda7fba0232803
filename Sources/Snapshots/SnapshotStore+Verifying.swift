internal import GRDB
package import Kernel
package import OCI
internal import Streams

/// Whether committed snapshots are still what they were. `<id>/mtree` beside a snapshot's tree records it
/// (`TreeRecord`); the row has the record's digest.
extension SnapshotStore {
    static let record = FileName(literal: "mtree")

    /// What is wrong with a snapshot.
    package enum Finding: Sendable, CustomStringConvertible {
        case difference(TreeDifference)
        /// The record itself is damaged, and tells nothing.
        case record(TreeRecordFailure)
        /// The whole tree cannot be opened.
        case tree(SyscallFailure)

        package var description: String {
            switch self {
            case .difference(let difference): difference.description
            case .record(let failure): failure.description
            case .tree(let failure): "the tree cannot be opened: \(failure)"
            }
        }
    }

    package enum Verification: Sendable {
        /// There was no record to compare it with; now there is.
        case recorded
        /// Paths that were looked at, and how well the record holds the content of files.
        case compared(paths: Int, RecordStrength)
    }

    /// Reads a committed snapshot and compares it with its record. Of one without a record it makes one.
    ///
    /// - Parameters:
    ///   - run: keeps the snapshot from being removed meanwhile.
    ///   - check: asked often; what it throws ends the work.
    /// - Throws: `.notFound`, `.failedPrecondition` if it is not committed, `.system`, what `check` and `report` throw.
    package func verify(
        _ name: String, in run: Run, check: () throws -> Void, report: (Finding) throws -> Void
    ) throws -> Verification {
        let (id, digest) = try write { database in
            let row = try self.row(name, database)
            guard row.kind == .committed else {
                throw StoreFailure(.failedPrecondition, "the snapshot '\(name)' is not committed")
            }
            try self.pin(row.id, in: run, database)
            return (row.id, try row.treeDigest.map { try Digest(parsing: $0) })
        }
        do {
            let tree = try backend.open(id, isWritable: false)
            guard let digest else {
                let digest = try writeRecord(of: tree, id, check: check).digest
                try write { try SnapshotRow.remember(digest, of: id, $0) }
                return .recorded
            }
            let (paths, strength) = try TreeComparison.compare(
                tree: tree.directory, with: Self.record, in: try backend.folder.open(id), digest: digest,
                check: check,
                report: { try report(.difference($0)) })
            return .compared(paths: paths, strength)
        } catch let failure as TreeRecordFailure {
            try report(.record(failure))
        } catch let failure as SyscallFailure {
            try report(.tree(failure))
        }
        return .compared(paths: 0, .digest)
    }

    /// Records the tree of a snapshot that nobody writes to any more.
    ///
    /// - Returns: as `TreeRecord.write`.
    func writeRecord(
        of tree: SnapshotTree, _ id: Int64, known: (FileStatus) -> ContentDigest? = { _ in nil },
        check: () throws -> Void = {}
    ) throws -> (digest: Digest, usage: SnapshotUsage) {
        let file = try backend.folder.open(id).openOrCreateFile(Self.record, mode: 0o600)
        try file.truncate(to: 0)
        let record = try TreeRecord.write(tree: tree.directory, to: file, known: known, check: check)
        try file.close()
        return record
    }

    /// Puts a layer that was unpacked again in the place of a damaged one, under the same id: what stands on it stands on
    /// the new one. On the disk when this returns.
    ///
    /// - Parameter active: gone afterwards, also on failure.
    /// - Throws: `.failedPrecondition` if it is mounted, because a mounted tree must not change; `.system`.
    package func replace(
        _ chain: ChainID, with active: consuming ActiveSnapshot, in run: Run
    ) throws(StoreFailure) {
        let (own, key) = (active.id, active.key)
        do {
            try close(active)
            try backend.finish(own)
            let record = try translating {
                try writeRecord(of: try backend.open(own, isWritable: false), own)
            }
            try? backend.seal(own)
            try syncFileSystem()
            let usage = try measure(own, key, tree: record.usage)
            try write(.durable) { database in
                guard let row = try SnapshotRow.holding(chain, self.snapshotter, boot: self.boot, database)
                else {
                    throw StoreFailure(.notFound, "the chain \(chain) is gone from the store")
                }
                try self.refuseMounted(row.id, "cannot replace the chain \(chain)")
                try SnapshotRow.remember(record.digest, of: row.id, database)
                try SnapshotRow.remember(usage, of: row.id, database)
                // Both directories are whole: whichever of the two a crash leaves, the row is right of the new one, and the
                // next verification finds the old one.
                try self.backend.folder.exchange(row.id, own)
            }
        } catch {
            discard(own)
            throw error
        }
        // The damaged one by now.
        discard(own)
    }
}

extension BackendFolder {
    /// Lets two snapshots change places; one that has lost its directory just takes the other's.
    fileprivate func exchange(_ damaged: Int64, _ new: Int64) throws(SyscallFailure) {
        if try directory.status(of: FileName(id: damaged)) == nil {
            try directory.rename(FileName(id: new), to: FileName(id: damaged))
        } else {
            try directory.exchange(FileName(id: damaged), FileName(id: new))
        }
        try directory.file.sync()
    }
}
