package import Kernel
internal import SystemPackage

/// The root of a mount that is attached nowhere, for reading. Releasing it releases the mount.
package final class MountedTree: Sendable {
    package let root: Directory
    /// Keeps the file system of `root` mounted.
    private let mount: DetachedMount?
    private let device: LoopDevice?

    fileprivate init(_ root: Directory, _ mount: DetachedMount? = nil, _ device: LoopDevice? = nil) {
        self.root = root
        self.mount = mount
        self.device = device
    }
}

extension Mount {
    /// Opens the tree that this mount shows without changing anything. A writable mount is opened for reading too, and
    /// may be mounted elsewhere at the same time; later changes may or may not be visible.
    ///
    /// - Throws: `.inUse` for an image that another loop device may write to; `.tooManyLayers` if this kernel takes all
    ///   layers in one option only and that option is too long.
    package func openTree() throws(MountPerformer.Failure) -> MountedTree {
        do {
            switch self {
            case .bind(let source, _): return MountedTree(try Directory(opening: source))
            case .overlay(let lowers, let writable, let userAttributes, let noIndex):
                // Overlay reads an upper directory like any other layer.
                let layers = (writable.map { [$0.upper] } ?? []) + lowers
                return MountedTree(try Self.overlay(layers, userAttributes, noIndex: noIndex).root)
            case .imageStack(let images, let writable, let noIndex):
                return try ImageLayers.mounted(images, on: "/") { roots in
                    let layers = (writable.map { [$0.upper] } ?? []) + roots
                    return MountedTree(try Self.overlay(layers, false, noIndex: noIndex).root)
                }
            case .image(let file, Mount.erofs, _, _):
                let mount = try DetachedMount.erofs(file)
                return MountedTree(mount.root, mount)
            case .subvolume(let device, let id, _):
                let mount = try DetachedMount(
                    type: type, source: device, readOnly: true, options: [("subvolid", "\(id)")])
                return MountedTree(mount.root, mount)
            case .image(let file, let type, _, let options):
                let device = try LoopDevice(of: file, readOnly: true)
                try MountPerformer.waitForOtherWriters(than: device, of: file)
                let mount = try Self.mount(device.path, type, options)
                return MountedTree(mount.root, mount, device)
            case .device(let device, let type, _, let options):
                do throws(SyscallFailure) {
                    let mount = try Self.mount(device, type, options)
                    return MountedTree(mount.root, mount)
                } catch {
                    // A file system that is mounted writable cannot be mounted read-only too.
                    guard error.errno == .resourceBusy else { throw error }
                    throw MountPerformer.Failure.inUse(target: try MountTable.read().target(ofSource: device))
                }
            }
        } catch let failure as MountPerformer.Failure {
            throw failure
        } catch let failure as SyscallFailure {
            throw .system(failure)
        } catch {
            throw .bug("\(error)")
        }
    }

    private static func mount(
        _ device: FilePath, _ type: String, _ options: [String]
    ) throws(SyscallFailure) -> DetachedMount {
        try DetachedMount(
            type: type, source: device, readOnly: true,
            options: options.map(MountOption.init).map { ($0.key, $0.value) })
    }

    private static func overlay(
        _ layers: [FilePath], _ userAttributes: Bool, noIndex: Bool
    ) throws -> DetachedMount {
        var options: [(String, String?)] = userAttributes ? [("userxattr", nil)] : []
        // With its index enabled, overlay refuses a layer that is the upper directory of another mount.
        if noIndex { options.append(("index", "off")) }
        switch Mount.LowerForm.ofThisKernel {
        case .appended: options = layers.map { ("lowerdir+", $0.string) } + options
        case .joined:
            let joined = layers.map(\.string).joined(separator: ":")
            guard joined.utf8.count <= MountCalls.longestValue else {
                throw MountPerformer.Failure.tooManyLayers(count: layers.count)
            }
            options.append(("lowerdir", joined))
        }
        return try DetachedMount(type: "overlay", source: "overlay", readOnly: true, options: options)
    }
}
