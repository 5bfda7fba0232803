internal import Kernel
internal import Streams
internal import SystemPackage

/// EROFS images as the lower layers of an overlay, which keeps them mounted: their mounts end with the overlay.
enum ImageLayers {
    /// Mounts images and calls `body` with their roots, in the order of the images. If anything fails or the process
    /// ends, no mount is left.
    ///
    /// Before Linux 6.15, the lower layers of an overlay must be mounts of the caller's namespace (kernel:
    /// fs/namespace.c, clone_private_mount). So `body` runs on a thread with a mount namespace that ends with it, in
    /// which the images are mounted one above the other.
    ///
    /// - Parameter place: a directory to mount the images on.
    static func mounted<Result: Sendable>(
        _ images: [FilePath], on place: FilePath, _ body: @escaping @Sendable ([FilePath]) throws -> Result
    ) throws -> Result {
        try WorkerThread {
            let isPrivate = try MountCalls.enterPrivateNamespace()
            let layers = try images.map { image throws(SyscallFailure) in
                let layer = try DetachedMount.erofs(image)
                // Otherwise they would be visible in other namespaces. Linux 6.15 does not need them attached.
                if isPrivate { try layer.attach(to: place) }
                return layer
            }
            return try withExtendedLifetime(layers) { try body(layers.map(\.path)) }
        }.join()
    }
}
