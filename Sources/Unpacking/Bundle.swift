internal import Kernel
internal import Layers
internal import Layout
internal import Mounts
package import OCI
internal import Snapshots
package import SystemPackage

/// A runtime bundle around an unpacked image (OCI runtime spec, bundle.md): `config.json`, and the directory that the root file
/// system will be mounted on.
package struct Bundle: Sendable {
    private let path: FilePath

    package init(_ path: FilePath) { self.path = path }

    /// Where the root file system belongs.
    package var rootfs: FilePath { path.appending(Self.rootfs) }

    /// The writable snapshot that is this bundle's, where nobody names one: no two paths have the same.
    package var key: String {
        let escaped = path.components.map { component in
            component.string.replacing("_", with: "__").replacing("-", with: "_-")
        }
        return (["bundle"] + escaped).joined(separator: "-")
    }

    /// Opens the bundle's directory, made with its `rootfs` if they are missing: before any work, so that nothing is unpacked
    /// in vain.
    ///
    /// A directory of another user's is taken over, and only used if that user has left nothing in it that a runtime would obey.
    ///
    /// - Throws: `.permission` for a `config.json` or a `rootfs` of another user's; then the directory is as it was.
    package func open() throws(UnpackError) -> OpenBundle {
        // Never for others to write to, whatever the umask: it would not be believed the next time.
        let folder = try makeDirectory(path, mode: 0o755)
        do {
            if let failure = try folder.ownershipFailure(at: path) {
                try takeOver(folder, because: failure)
            } else {
                try prepareRootfs(in: folder)
            }
        } catch let failure as OwnershipFailure {
            throw refusal(failure)
        } catch {
            try attempt { throw error }
        }
        _ = try ownConfig(in: folder)
        return OpenBundle(bundle: self, folder: folder)
    }

    /// - Parameter failure: why the directory is not the user's own; thrown if there is more in it than an empty `rootfs`.
    private func takeOver(_ folder: Directory, because failure: OwnershipFailure) throws {
        let mode = try folder.file.status().mode
        let access = try folder.takeOver()
        do {
            _ = try ownConfig(in: folder)
            let rootfs = try folder.ensureDirectory(Self.rootfs, mode: 0o755)
            try takeOver(rootfs: rootfs, orThrow: failure)
            // A user that could look into it still can.
            try folder.file.setMode(mode & 0o755)
        } catch {
            try? folder.restore(access)
            throw error
        }
    }

    /// Makes `rootfs` in the user's own bundle, or takes over one of another user's.
    private func prepareRootfs(in folder: Directory) throws {
        let rootfs = try folder.ensureDirectory(Self.rootfs, mode: 0o755)
        // Where something is mounted on it already, that has any owner.
        let isMounted = try rootfs.file.mountID() != folder.file.mountID()
        if !isMounted, let failure = try rootfs.ownershipFailure(at: self.rootfs) {
            try takeOver(rootfs: rootfs, orThrow: failure)
        }
    }

    /// A runtime that starts before anything is mounted on `rootfs` uses what is in it. Empty it has to be once it is taken
    /// over: until then its owner could add to it.
    private func takeOver(rootfs: Directory, orThrow failure: OwnershipFailure) throws {
        let access = try rootfs.takeOver()
        guard try rootfs.names(atMost: 1).isEmpty else {
            try? rootfs.restore(access)
            throw failure
        }
        try rootfs.file.setMode(0o755)
    }

    /// - Returns: whether there is a config, which is then the user's own.
    fileprivate func ownConfig(in folder: Directory) throws(UnpackError) -> Bool {
        do throws(OwnershipFailure) {
            return try folder.checkOwnFile(Self.config, in: path)
        } catch {
            throw refusal(error)
        }
    }

    private func refusal(_ failure: OwnershipFailure) -> UnpackError {
        UnpackError(failure, "cannot use the bundle")
    }

    fileprivate static let rootfs = "rootfs"
    fileprivate static let config = FileName(literal: "config.json")
}

/// A bundle whose directory no other user can change.
package struct OpenBundle: Sendable {
    private let bundle: Bundle
    private let folder: Directory

    fileprivate init(bundle: Bundle, folder: Directory) {
        self.bundle = bundle
        self.folder = folder
    }

    /// Makes the config. One that is there stays: the user may have changed it. It is this image's, because the bundle's
    /// snapshot is.
    ///
    /// - Parameter labels: which of the image's labels become annotations.
    /// - Returns: whether the config is a new one.
    /// - Throws: `.data` for a user that the image does not have. The bundle's own snapshot, that was made for it, is gone then.
    package func write(
        _ result: UnpackResult, root: FilePath, snapshotter: String, labels: AnnotationLabels
    ) throws(UnpackError) -> Bool {
        let store = try openStore(root, snapshotter: snapshotter)
        if try bundle.ownConfig(in: folder) { return false }
        do throws(UnpackError) {
            let document = RuntimeConfig.document(
                of: result.image.config, rootfs: Bundle.rootfs,
                isReadOnly: result.mounts.allSatisfy(\.isReadOnly), user: try user(of: result, in: store),
                labels: labels,
                hasTerminalGroup: Privileges.current.canOwn(uid: 0, gid: 5))
            try attempt {
                try folder.writeWhole(Bundle.config, mode: 0o644 & ~Process.inheritedModeMask) { file in
                    try document.indented.withRawSpan { span throws(SyscallFailure) in try file.write(span) }
                }
            }
        } catch {
            try? store.remove(bundle.key)
            throw error
        }
        return true
    }

    /// The image's own accounts decide who `config.User` is.
    private func user(
        of result: UnpackResult, in store: SnapshotStore
    ) throws(UnpackError) -> ContainerUser {
        try attempt {
            guard let snapshot = try store.verified(result.chainID) else {
                throw UnpackError(
                    .notFound, "the image was removed from the store meanwhile", hint: "run it again")
            }
            // The trees are open as long as the list is.
            let layers = try store.layers(of: snapshot.name)
            let view = LowerView(layers.map(\.directory))
            return try withExtendedLifetime(layers) {
                do {
                    let user = result.image.config.execution?["User"]
                    guard let text = user.map(\.text) ?? "" else { throw ContainerUser.Failure.notText }
                    return try ContainerUser(
                        text,
                        passwd: try view.contents(of: "etc/passwd", limit: Self.largestAccounts) ?? [],
                        group: try view.contents(of: "etc/group", limit: Self.largestAccounts) ?? [])
                } catch let failure as ContainerUser.Failure {
                    throw UnpackError(.data, "\(failure)", hint: "report it to whoever built the image")
                }
            }
        }
    }

    /// What is read of passwd and group, in bytes.
    private static let largestAccounts = 4 << 20
}
