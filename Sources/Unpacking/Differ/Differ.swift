package import Kernel
package import Layers
package import Layout
package import Mounts
package import OCI
package import Snapshots
internal import SystemPackage

/// Applies layers to directories outside of the unpacker's control, and makes layers from them: containerd's diff
/// service.
package struct Differ: Sendable {
    private let limits: UnpackRequest.Limits
    private let stores: [SnapshotStore]

    /// - Parameters:
    ///   - limits: limits of each layer.
    ///   - stores: stores in which only active snapshots of clients may be written to.
    package init(
        limits: UnpackRequest.Limits = UnpackRequest.Limits(), protecting stores: [SnapshotStore] = []
    ) {
        self.limits = limits
        self.stores = stores
    }

    /// Applies one layer to the tree that mounts describe, which may be empty or not. Attaches no mount.
    ///
    /// - Parameters:
    ///   - descriptor: descriptor by which the blob is verified.
    ///   - isSynced: whether all that was written is on the disk when this returns.
    ///   - progress: called from another thread with the bytes of the blob that have been read.
    /// - Returns: the diff ID and the size of the tar, which were not compared with the config of an image.
    /// - Throws: `.unsupported` for a media type that is not a layer tar, and for mounts that `ContainerdTree` does not
    ///   support. After an error an empty tree is empty again, and an invalid layer leaves any other tree unchanged.
    package func apply(
        _ descriptor: Descriptor, from blobs: any BlobSource, onto mounts: [ContainerdMount], isSynced: Bool,
        cancellation: Cancellation = Cancellation(),
        progress: @escaping LayerPipeline.Progress = { _ in }
    ) throws(DifferFailure) -> LayerContent {
        do {
            guard descriptor.mediaType.isLayer else {
                throw DifferFailure.unsupported(
                    "the media type '\(descriptor.mediaType)' is not a layer tar")
            }
            let tree = try ContainerdTree(mounts)
            if let image = try appliedImage(for: tree) {
                return try write(
                    descriptor, from: blobs, to: image, isSynced: isSynced, cancellation, progress)
            }
            return try OpenTree.writing(to: tree, isSynced: isSynced, check: check) { target, marks in
                let pipeline = LayerPipeline(
                    blobs, form: try target.probeWhiteoutForm(marks), marks: marks,
                    budget: try budget(for: descriptor, in: target.directory), cancellation: cancellation)
                return try pipeline.apply(descriptor, onto: target, progress: progress).content
            }
        } catch {
            throw DifferFailure.wrapping(error, "layer \(descriptor.digest.short)")
        }
    }

    /// The place for the image of a layer; nil if the layer is applied to a directory.
    private func appliedImage(for tree: ContainerdTree) throws -> AppliedImage? {
        let path: FilePath
        switch tree {
        case .directory(let directory, isReadOnly: false): path = directory
        case .overlay(_, let upper?, userAttributes: false): path = upper
        default: return nil
        }
        let imageStores = stores.filter { $0.content == .image }
        if imageStores.isEmpty { return nil }
        let place = try Directory(opening: path)
        for store in imageStores {
            if let image = try store.appliedImage(for: place) { return image }
        }
        return nil
    }

    private func write(
        _ descriptor: Descriptor, from blobs: any BlobSource, to image: AppliedImage, isSynced: Bool,
        _ cancellation: Cancellation, _ progress: @escaping LayerPipeline.Progress
    ) throws -> LayerContent {
        let pipeline = LayerPipeline(
            blobs, form: .device, budget: try budget(for: descriptor, in: image.directory),
            cancellation: cancellation)
        do {
            let lower = try LowerView(
                images: try image.lowers.map { try LayerImage(try File.open($0, .read)) })
            let found = try pipeline.write(
                descriptor, to: try image.make(), scratch: image.directory, over: lower,
                progress: progress)
            if isSynced { try image.directory.file.syncFileSystem() }
            try image.publish()
            if isSynced { try image.directory.file.sync() }
            return found.content
        } catch {
            image.discard()
            throw error
        }
    }

    private func check(_ place: borrowing File) throws {
        for store in stores { try store.checkClientMayWrite(to: place) }
    }

    private func budget(for descriptor: Descriptor, in directory: Directory) throws(SyscallFailure) -> Budget
    {
        limits.budget(compressed: descriptor.size, freeBytes: try directory.file.freeBytes())
    }
}
