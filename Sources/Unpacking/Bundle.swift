internal import Kernel
internal import Layers
internal import Layout
internal import Mounts
package import OCI
package import Snapshots
package import SystemPackage

/// A runtime bundle for an unpacked image (OCI runtime spec, bundle.md): `config.json`, and the directory that is the
/// mount point of the root file system.
package struct Bundle: Sendable {
    fileprivate let path: FilePath

    package init(_ path: FilePath) { self.path = path }

    /// The mount point of the root file system.
    package var rootfs: FilePath { path.appending(Self.rootfs) }

    /// The default key of the bundle's writable snapshot, unique for each absolute path.
    package var key: String {
        let escaped = path.components.map { component in
            component.string.replacing("_", with: "__").replacing("-", with: "_-")
        }
        return (["bundle"] + escaped).joined(separator: "-")
    }

    /// Opens the bundle's directory and its `rootfs`, and creates what is missing. Called before anything is unpacked,
    /// so that an unusable bundle fails early.
    ///
    /// A directory of another user becomes the effective user's, if it contains nothing that a runtime would trust.
    ///
    /// - Throws: `.permission` for a `config.json` of another user, or a `rootfs` of another user that is not empty;
    ///   the owner and the mode of the directory are then unchanged.
    package func open() throws(UnpackError) -> OpenBundle {
        // Writable for the owner only, whatever the umask is: the next run would refuse a directory that is not.
        let folder = try makeDirectory(path, mode: 0o755)
        do {
            if let failure = try folder.ownershipFailure(at: path) {
                try takeExclusiveAccess(to: folder, because: failure)
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

    /// Makes a directory of another user the effective user's.
    ///
    /// - Parameter failure: why the directory is not trusted; thrown if its `rootfs` is not empty.
    private func takeExclusiveAccess(to folder: Directory, because failure: OwnershipFailure) throws {
        let mode = try folder.file.status().mode
        let access = try folder.takeExclusiveAccess()
        do {
            _ = try ownConfig(in: folder)
            let rootfs = try folder.ensureDirectory(Self.rootfs, mode: 0o755)
            try takeExclusiveAccess(toRootfs: rootfs, orThrow: failure)
            // Keeps the permissions to read of other users, and removes those to write.
            try folder.file.setMode(mode & 0o755)
        } catch {
            try? folder.restore(access)
            throw error
        }
    }

    /// Creates `rootfs` in the user's own bundle, or takes exclusive access to one of another user.
    private func prepareRootfs(in folder: Directory) throws {
        let rootfs = try folder.ensureDirectory(Self.rootfs, mode: 0o755)
        // The root of a mounted file system may have any owner.
        let isMounted = try rootfs.file.mountID() != folder.file.mountID()
        if !isMounted, let failure = try rootfs.ownershipFailure(at: self.rootfs) {
            try takeExclusiveAccess(toRootfs: rootfs, orThrow: failure)
        }
    }

    /// Takes exclusive access to `rootfs`, which must be empty: a runtime that starts before anything is mounted on it
    /// would run its content.
    ///
    /// The check comes after the change of the owner, because the previous owner could add entries until then.
    private func takeExclusiveAccess(toRootfs rootfs: Directory, orThrow failure: OwnershipFailure) throws {
        let access = try rootfs.takeExclusiveAccess()
        guard try rootfs.names(atMost: 1).isEmpty else {
            try? rootfs.restore(access)
            throw failure
        }
        try rootfs.file.setMode(0o755)
    }

    /// - Returns: whether the bundle has a config, which is then the effective user's own.
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

    /// What the labels of the bundle's snapshot record.
    package var directory: BundleDirectory {
        get throws(UnpackError) { try attempt { try BundleDirectory(at: bundle.path) } }
    }

    fileprivate init(bundle: Bundle, folder: Directory) {
        self.bundle = bundle
        self.folder = folder
    }

    /// Writes the config. An existing one is kept, because the user may have changed it; it belongs to the same image,
    /// because the bundle's snapshot does.
    ///
    /// - Parameter labels: which of the image's labels become annotations.
    /// - Returns: whether the config is new.
    /// - Throws: `.data` for a user that the image does not have. A failure also removes the snapshot with the bundle's
    ///   default key.
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
                try folder.writeAtomically(Bundle.config, mode: 0o644 & ~Process.inheritedModeMask) { file in
                    try document.indented.withRawSpan { span throws(SyscallFailure) in try file.write(span) }
                }
            }
        } catch {
            try? store.remove(bundle.key)
            throw error
        }
        return true
    }

    /// The user of `config.User`, resolved with the image's own accounts.
    private func user(
        of result: UnpackResult, in store: SnapshotStore
    ) throws(UnpackError) -> ContainerUser {
        try attempt {
            guard let snapshot = try store.verified(result.chainID) else {
                throw UnpackError(
                    .notFound, "the image was removed from the store meanwhile", hint: "run it again")
            }
            // The directories stay open as long as this array lives.
            let layers = try store.layers(of: snapshot.name)
            let view = LowerView(layers.map(\.directory))
            return try withExtendedLifetime(layers) {
                do {
                    let user = result.image.config.runtimeSettings?["User"]
                    guard let text = user.map(\.text) ?? "" else { throw ContainerUser.Failure.notText }
                    return try ContainerUser(
                        text,
                        passwd: try view.contents(of: "etc/passwd", limit: Self.largestAccounts) ?? [],
                        group: try view.contents(of: "etc/group", limit: Self.largestAccounts) ?? [])
                } catch let failure as ContainerUser.Failure {
                    throw UnpackError(.data, "\(failure)", hint: "report it to the publisher of the image")
                }
            }
        }
    }

    /// The most that is read of passwd and of group, in bytes.
    private static let largestAccounts = 4 << 20
}
