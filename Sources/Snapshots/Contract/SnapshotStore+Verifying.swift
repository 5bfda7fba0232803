internal import Erofs
internal import ErofsFiles
package import Kernel
package import OCI
package import Streams
package import TreeRecords

/// Digests of the content of a tree that a caller has already.
package struct KnownDigests {
    /// Of the layer's tar, which an image contains.
    package let tar: Digest?
    /// Of a regular file; nil if it is unknown.
    package let ofFile: (FileStatus) -> ContentDigest?

    package init(tar: Digest? = nil, ofFile: @escaping (FileStatus) -> ContentDigest? = { _ in nil }) {
        self.tar = tar
        self.ofFile = ofFile
    }
}

/// Verification of committed snapshots. `<id>/mtree` beside a snapshot's tree records it (`TreeRecord`); the row has
/// the digest of the record. An image has no record; the row has its digest (`ImageDigest`).
extension SnapshotStore {
    static let recordFile = FileName(literal: "mtree")

    /// A difference between a snapshot and its record.
    package enum Finding: Sendable, CustomStringConvertible {
        case difference(TreeDifference)
        /// The record itself is damaged and cannot be compared with.
        case record(TreeRecordFailure)
        /// The tree or the image cannot be opened or read.
        case tree(SyscallFailure)
        /// The image differs from what was recorded; the text says in which way.
        case image(String)

        package var description: String {
            switch self {
            case .difference(let difference): difference.description
            case .record(let failure): failure.description
            case .tree(let failure): "the tree cannot be read: \(failure)"
            case .image(let reason): reason
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
        let (row, base) = try database.write { transaction in
            let row = try transaction.existing(name)
            try row.refuseUncommitted()
            try transaction.pin(row.id, in: run)
            return (row, try row.parent.flatMap { try transaction.snapshot(named: $0.name)?.verifiedChain })
        }
        let id = row.id
        do {
            guard let digest = row.treeDigest else {
                let digest = try recordOpened(id, check: check).digest
                try database.write { try $0.setTreeDigest(digest, of: id) }
                return .recorded
            }
            if content == .image {
                let chain = row.verifiedChain.map { ImageVerification.Chain(id: $0, base: base) }
                let verification = ImageVerification(
                    digest: digest, verityDigest: row.verityDigest, chain: chain)
                let paths = try verification.run(try openImage(id), check: check) { try report(.image($0)) }
                return .compared(paths: paths, .digest)
            }
            let tree = try backend.open(id, isWritable: false)
            let (paths, strength) = try TreeComparison.compare(
                tree: tree.directory, with: Self.recordFile, in: try backend.folder.open(id), digest: digest,
                check: check,
                report: { try report(.difference($0)) })
            return .compared(paths: paths, strength)
        } catch let failure as TreeRecordFailure {
            try report(.record(failure))
        } catch let failure as SyscallFailure {
            try report(.tree(failure))
        } catch let error as ErofsError {
            try report(.image("the image is damaged: \(error)"))
        }
        return .compared(paths: 0, .digest)
    }

    private func openImage(_ id: Int64) throws -> File {
        try backend.folder.open(id).openFile(type(of: backend).committedTree)
    }

    /// Records the tree of a snapshot that is not written to any more.
    ///
    /// - Returns: the digest of the record, and the space of the tree if it is known.
    /// - Throws: `StoreFailure`, errors of `check`.
    func record(
        _ id: Int64, _ key: String, known: KnownDigests = KnownDigests(), check: () throws -> Void = {}
    ) throws -> (digest: Digest, usage: SnapshotUsage?) {
        do {
            return try recordOpened(id, known: known, check: check)
        } catch {
            throw StoreFailure(ofFiles: error, "cannot record the tree of '\(key)'") ?? error
        }
    }

    private func recordOpened(
        _ id: Int64, known: KnownDigests = KnownDigests(), check: () throws -> Void = {}
    ) throws -> (digest: Digest, usage: SnapshotUsage?) {
        if content == .image {
            return (try ImageDigest(of: try openImage(id), knownTar: known.tar, check: check).all, nil)
        }
        let tree = try backend.open(id, isWritable: false)
        let file = try backend.folder.open(id).openOrCreateFile(Self.recordFile, mode: 0o600)
        try file.truncate(to: 0)
        let record = try TreeRecord.write(
            tree: tree.directory, to: file, known: known.ofFile, check: check)
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
            let record = try failing("cannot replace the chain \(chain)") {
                try finish(own, for: .layer, key)
                return try self.record(own, key)
            }
            try? backend.seal(own)
            let synced = try sync([own])
            let usage = try measure(own, isCommitted: true, on: base, key, tree: record.usage)
            try database.write(.durable) { transaction in
                guard let row = try transaction.snapshot(holding: chain) else { throw Self.missing(chain) }
                try self.refuseMounted(row.id, "cannot replace the chain \(chain)")
                try transaction.setTreeDigest(record.digest, of: row.id)
                try transaction.setVerityDigest(synced.verityDigests[own], of: row.id)
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
