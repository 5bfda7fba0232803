internal import Kernel
package import Layers
package import Layout
package import Mounts
package import OCI
package import Snapshots
package import Streams

/// Layers between directories that somebody else keeps, as containerd's diff service has it: to be applied, or to be made.
package struct Differ: Sendable {
    private let limits: UnpackRequest.Limits
    private let stores: [SnapshotStore]

    /// - Parameters:
    ///   - limits: for each layer.
    ///   - stores: in which nothing is written but active snapshots of clients.
    package init(
        limits: UnpackRequest.Limits = UnpackRequest.Limits(), protecting stores: [SnapshotStore] = []
    ) {
        self.limits = limits
        self.stores = stores
    }

    /// Applies one layer to what the mounts show, whether something is there already or not. Nothing is mounted where others
    /// see it.
    ///
    /// - Parameters:
    ///   - descriptor: of the blob, which is verified by it.
    ///   - isSynced: whether all that was written is on the disk when this returns.
    ///   - progress: told of the bytes of the blob that were read so far, from another thread.
    /// - Returns: what the tar was. Nobody has compared that with an image's config.
    /// - Throws: `.unsupported` for a blob that is no tar, and for mounts as `ForeignTree` has it; and then what was empty is
    ///   empty again.
    package func apply(
        _ descriptor: Descriptor, from blobs: any BlobSource, onto mounts: [ForeignMount], isSynced: Bool,
        cancellation: Cancellation = Cancellation(),
        progress: @escaping LayerPipeline.Progress = { _ in }
    ) throws(DifferFailure) -> FoundLayer {
        do {
            guard descriptor.mediaType.isLayer else {
                throw DifferFailure.unsupported(
                    "the media type '\(descriptor.mediaType)' is no tar of a layer")
            }
            let tree = try ForeignTree(mounts)
            return try OpenTree.writing(to: tree, isSynced: isSynced, check: check) { target, marks in
                let pipeline = LayerPipeline(
                    blobs, form: try target.tryLayer(marks), marks: marks,
                    budget: try budget(for: descriptor, in: target.directory), cancellation: cancellation)
                return try pipeline.apply(descriptor, onto: target, progress: progress)
            }
        } catch {
            throw DifferFailure.wrapping(error, "layer \(descriptor.digest.short)")
        }
    }

    private func check(_ place: borrowing File) throws {
        for store in stores { try store.refuseForeignWriting(to: place) }
    }

    private func budget(for descriptor: Descriptor, in directory: Directory) throws(SyscallFailure) -> Budget
    {
        let (most, isEndless) = descriptor.size.multipliedReportingOverflow(by: limits.ratio ?? .max)
        let free = try directory.file.freeBytes()
        return Budget(
            Budget.Limits(
                bytes: limits.bytes ?? free, isFreeSpace: limits.bytes == nil,
                entries: limits.entries, uncompressed: isEndless ? .max : most))
    }
}
