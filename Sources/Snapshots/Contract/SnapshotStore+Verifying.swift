package import Kernel
package import OCI
internal import Streams
package import TreeRecords

/// Verification of committed snapshots. `<id>/mtree` beside a snapshot's tree records it (`TreeRecord`); the row has
/// the digest of the record.
extension SnapshotStore {
    static let record = FileName(literal: "mtree")

    /// A difference between a snapshot and its record.
    package enum Finding: Sendable, CustomStringConvertible {
        case difference(TreeDifference)
        /// The record itself is damaged and cannot be compared with.
        case record(TreeRecordFailure)
        /// The tree cannot be opened.
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
        /// The snapshot had no record, and has one now.
        case recorded
        /// The number of compared paths, and how well the record holds the content of files.
        case compared(paths: Int, RecordStrength)
    }

    /// Reads a committed snapshot and compares it with its record, or records it if it has no record.
    ///
    /// - Parameters:
    ///   - run: keeps the snapshot from being removed meanwhile.
    ///   - check: called often; an error that it throws ends the work.
    /// - Throws: `.notFound`, `.failedPrecondition` if it is not committed, `.system`, errors of `check` and `report`.
    package func verify(
        _ name: String, in run: Run, check: () throws -> Void, report: (Finding) throws -> Void
    ) throws -> Verification {
        let (id, digest) = try database.write { transaction in
            let row = try transaction.existing(name)
            try row.refuseUncommitted()
            try transaction.pin(row.id, in: run)
            return (row.id, row.treeDigest)
        }
        do {
            let tree = try backend.open(id, isWritable: false)
            guard let digest else {
                let digest = try writeRecord(of: tree, id, check: check).digest
                try database.write { try $0.setTreeDigest(digest, of: id) }
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

    /// Opens and records the tree of a snapshot that is not written to any more.
    ///
    /// - Returns: the digest of the record, and the space of the tree.
    /// - Throws: `StoreFailure`, errors of `check`.
    func recordTree(
        of id: Int64, _ key: String, known: (FileStatus) -> ContentDigest? = { _ in nil },
        check: () throws -> Void = {}
    ) throws -> (digest: Digest, usage: SnapshotUsage) {
        do {
            return try writeRecord(
                of: try backend.open(id, isWritable: false), id, known: known, check: check)
        } catch let failure as SyscallFailure {
            throw StoreFailure(failure, "cannot record the tree of '\(key)'")
        } catch let mismatch as FileMismatch {
            throw StoreFailure(mismatch, "cannot record the tree of '\(key)'")
        } catch let failure as TreeRecordFailure {
            throw StoreFailure(.failedPrecondition, "cannot record the tree of '\(key)': \(failure)")
        }
    }

    private func writeRecord(
        of tree: SnapshotTree, _ id: Int64, known: (FileStatus) -> ContentDigest? = { _ in nil },
        check: () throws -> Void = {}
    ) throws -> (digest: Digest, usage: SnapshotUsage) {
        let file = try backend.folder.open(id).openOrCreateFile(Self.record, mode: 0o600)
        try file.truncate(to: 0)
        let record = try TreeRecord.write(tree: tree.directory, to: file, known: known, check: check)
        try file.close()
        return (record.digest, SnapshotUsage(record.usage))
    }

    /// Replaces a damaged layer by one that was unpacked again, under the same ID, so that the snapshots based on it
    /// are based on the new one. The new layer is durable when this returns.
    ///
    /// - Parameter active: removed afterwards, also on failure.
    /// - Throws: `.failedPrecondition` if the layer is mounted, because a mounted tree must not change; `.notFound`,
    ///   `.system`.
    package func replace(
        _ chain: ChainID, with active: consuming ActiveSnapshot, in run: Run
    ) throws(StoreFailure) {
        let (own, key, base) = (active.id, active.key, active.parent)
        do {
            try close(active)
            try backend.finish(own)
            let record = try failing("cannot replace the chain \(chain)") { try recordTree(of: own, key) }
            try? backend.seal(own)
            try syncFileSystem()
            let usage = try measure(own, on: base, key, tree: record.usage)
            try database.write(.durable) { transaction in
                guard let row = try transaction.snapshot(holding: chain) else { throw Self.missing(chain) }
                try self.refuseMounted(row.id, "cannot replace the chain \(chain)")
                try transaction.setTreeDigest(record.digest, of: row.id)
                try transaction.setUsage(usage, of: row.id)
                // Both directories are complete. After a crash either of them is in place: the row describes the new
                // one, and the next verification finds the old one.
                try self.trash.replace(row.id, with: own)
            }
        } catch {
            discard(own)
            throw error
        }
        // The ID of the damaged directory by now.
        discard(own)
    }
}
