internal import Kernel
internal import Layers
internal import Layout
internal import Mounts
internal import OCI
internal import Snapshots
package import SystemPackage

/// A runtime bundle around an unpacked image (OCI runtime spec, bundle.md): `config.json`, and the directory that the root file
/// system will be mounted on.
package struct Bundle: Sendable {
    private let path: FilePath

    package init(_ path: FilePath) { self.path = path }

    /// Where the root file system belongs.
    package var rootfs: FilePath { path.appending(Self.rootfs) }

    private static let rootfs = "rootfs"
    private static let config = FileName(literal: "config.json")

    /// The writable snapshot that is this bundle's, where nobody names one: no two paths have the same.
    package var key: String {
        let escaped = path.components.map { component in
            component.string.replacing("_", with: "__").replacing("-", with: "_-")
        }
        return (["bundle"] + escaped).joined(separator: "-")
    }

    /// Makes the directories: before any work, for nothing is gained by it if they cannot be.
    package func prepare() throws(UnpackError) {
        let folder = try makeDirectory(path)
        _ = try attempt { try folder.ensureDirectory(Self.rootfs, mode: 0o755) }
    }

    /// Makes the config. One that is there stays: somebody may have changed it. It is this image's, for the
    /// bundle's snapshot is.
    ///
    /// - Returns: whether the config is a new one.
    /// - Throws: `.data` for a user that the image does not have. The bundle's own snapshot, that was made for it, is gone then.
    package func write(
        _ result: UnpackResult, root: FilePath, snapshotter: String
    ) throws(UnpackError) -> Bool {
        let (folder, store) = try attempt {
            (try Directory(opening: path), try openStore(root, snapshotter: snapshotter))
        }
        if try attempt({ try folder.status(of: Self.config) }) != nil { return false }
        do throws(UnpackError) {
            let document = RuntimeConfig.document(
                of: result.image.config, rootfs: Self.rootfs,
                isReadOnly: result.mounts.allSatisfy(\.isReadOnly), user: try user(of: result, in: store),
                hasTerminalGroup: Privileges.current.canOwn(uid: 0, gid: 5))
            try attempt {
                try folder.writeWhole(Self.config, mode: 0o666 & ~Process.inheritedModeMask) { file in
                    try document.indented.withRawSpan { span throws(SyscallFailure) in try file.write(span) }
                }
            }
        } catch {
            try? store.remove(key)
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
                    return try ContainerUser(
                        result.image.config.execution?["User"]?.text ?? "",
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
