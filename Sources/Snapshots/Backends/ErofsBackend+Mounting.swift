internal import Kernel
internal import Mounts
internal import SystemPackage

/// Mounts of images on the directories beside them, for clients that call mount(2) once for each mount. Such a mount
/// stays until the image is removed, and counts as no use of it: what clients mount on top of it does.
extension ErofsBackend {
    func mountsForClient(_ mounts: [Mount]) throws(StoreFailure) -> [Mount] {
        try attempting("cannot mount the layers of a snapshot") { () throws(SyscallFailure) in
            try mounts.map { mount throws(SyscallFailure) in
                switch mount {
                case .imageStack(let images, let writable, let noIndex):
                    .overlay(
                        lowers: try images.map { image throws(SyscallFailure) in try mountBeside(image) },
                        writable: writable, userAttributes: false, noIndex: noIndex)
                case .image(let image, Mount.erofs, _, _):
                    .bind(source: try mountBeside(image), readOnly: true)
                default: mount
                }
            }
        }
    }

    /// Keeps two threads from mounting the same image twice.
    private static let mounting = Locked(())

    /// - Returns: the mount point.
    private func mountBeside(_ image: FilePath) throws(SyscallFailure) -> FilePath {
        let place = Mount.mountPoint(of: image)
        let result = Self.mounting.withLock { _ in
            Result { () throws(SyscallFailure) in
                if try !isMounted(place) { try DetachedMount.erofs(image).attach(to: place) }
            }
        }
        try result.get()
        return place
    }

    private func isMounted(_ place: FilePath) throws(SyscallFailure) -> Bool {
        try Directory(opening: place).file.fileSystemType() == Mount.erofs
    }

    /// Also ends the mounts on the directories: a mount point cannot be removed (rmdir(2), EBUSY).
    func delete(
        _ names: [FileName], _ deletion: Deletion, shouldContinue: @escaping @Sendable () -> Bool
    ) throws(SyscallFailure) {
        for name in names {
            let place = folder.path.appending(name.description).appending(Self.tree.description)
            do throws(SyscallFailure) {
                while try isMounted(place) { try MountCalls.unmount(place, lazily: true) }
            } catch {
                // Deleted in part already, or no snapshot: the file of a probe that was killed.
                if !error.isMissing, error.errno != .notDirectory { throw error }
            }
        }
        try TreeRemoval(of: names, in: folder.directory).run(deletion, shouldContinue: shouldContinue)
    }
}
