package import Kernel
package import SystemPackage

/// A place for the image of a layer that a client applies to one of its active snapshots. The commit of the snapshot
/// uses it instead of writing an image of the snapshot's upper directory.
package struct AppliedImage: Sendable {
    static let name = FileName(literal: "applied.erofs")

    /// The directory of the snapshot, for the image and scratch files.
    package let directory: Directory
    /// The images of the layers below, topmost first.
    package let lowers: [FilePath]
    /// The name of the image while it is written.
    private let unfinished = FileName(literal: ".applied-\(UInt64.random(in: .min ... .max))")

    fileprivate init(directory: Directory, lowers: [FilePath]) {
        self.directory = directory
        self.lowers = lowers
    }

    /// Makes the empty file, open for reading and writing.
    package func make() throws(SyscallFailure) -> File {
        try directory.openOrCreateFile(unfinished, mode: 0o600)
    }

    /// Completes the image of a layer that was written.
    ///
    /// - Throws: EEXIST if another layer was applied meanwhile.
    package func publish() throws(SyscallFailure) {
        try directory.link(unfinished, of: directory, as: Self.name)
        try directory.removeFile(unfinished)
    }

    /// Removes the file after a failure.
    package func discard() { try? directory.removeFile(unfinished) }
}

extension SnapshotStore {
    /// The place for the image of a layer that is applied to a directory.
    ///
    /// - Parameter place: a directory that a client has named.
    /// - Returns: nil unless this snapshotter keeps images, and the directory is the tree of an active snapshot without
    ///   any changes.
    /// - Throws: as `checkClientMayWrite`; `.failedPrecondition` if a layer was applied already.
    package func appliedImage(for place: Directory) throws(StoreFailure) -> AppliedImage? {
        guard content == .image, let found = try clientSnapshot(at: place.file),
            found.snapshotter == snapshotter, found.isRoot
        else { return nil }
        let doing = "cannot apply a layer to the snapshot \(found.id)"
        let (directory, isApplied, isEmpty) = try attempting(doing) { () throws(SyscallFailure) in
            let directory = try backend.folder.open(found.id)
            return (
                directory, try directory.status(of: AppliedImage.name) != nil,
                try place.names(atMost: 1).isEmpty
            )
        }
        if isApplied {
            throw StoreFailure(
                .failedPrecondition,
                "\(doing): another layer was applied to it, and it has to be committed first")
        }
        guard isEmpty else { return nil }
        let parents = try database.read { try $0.ancestry(of: found.id) }.dropFirst()
        return AppliedImage(directory: directory, lowers: parents.map(imagePath))
    }
}
