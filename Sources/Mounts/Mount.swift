internal import Kernel
package import SystemPackage

/// A description of the mount that shows a snapshot's tree. `MountPerformer`, mount(8) or containerd performs it.
package enum Mount: Hashable, Sendable {
    /// A directory, bound to the mount point.
    case bind(source: FilePath, readOnly: Bool)
    /// Layers of an overlay, topmost first. Without `writable` it is read-only and needs at least two lowers: overlay
    /// refuses a single one (kernel: overlayfs.rst, "Multiple lower layers").
    ///
    /// `userAttributes` makes overlay use the `user.overlay.*` attributes (kernel ≥ 5.11). `noIndex` disables its
    /// index.
    case overlay(lowers: [FilePath], writable: Writable?, userAttributes: Bool, noIndex: Bool)
    /// A subvolume of the btrfs on a block device.
    case subvolume(device: FilePath, id: UInt64, readOnly: Bool)
    /// An image file that contains a file system, mounted through a loop device. `options` belong to the file system.
    case image(file: FilePath, type: String, readOnly: Bool, options: [String])
    /// A block device that contains a file system, or a dataset of ZFS. `options` belong to the file system.
    case device(FilePath, type: String, readOnly: Bool, options: [String])

    /// EROFS images, merged by an overlay, topmost first: at least two, or one under a writable directory. A single
    /// image without one is an `image`.
    case imageStack([FilePath], writable: Writable?, noIndex: Bool)

    /// The type of an `image` that has a layer.
    package static let erofs = "erofs"
    /// The type of a `device` that is a dataset.
    package static let zfs = "zfs"

    package struct Writable: Hashable, Sendable {
        package let upper: FilePath
        /// An empty directory on the file system of `upper`, for the kernel's own use.
        package let work: FilePath

        package init(upper: FilePath, work: FilePath) {
            self.upper = upper
            self.work = work
        }
    }

    /// The kernel's name of the file system type; `bind` for a bind mount.
    package var type: String {
        switch self {
        case .bind: "bind"
        case .overlay, .imageStack: "overlay"
        case .subvolume: "btrfs"
        case .image(_, let type, _, _), .device(_, let type, _, _): type
        }
    }

    package var source: String {
        switch self {
        case .bind(let source, _): source.string
        case .overlay: "overlay"
        case .imageStack(let images, _, _): images.first?.string ?? "overlay"
        case .subvolume(let device, _, _): device.string
        case .image(let file, _, _, _), .device(let file, _, _, _): file.string
        }
    }

    package var isReadOnly: Bool {
        switch self {
        case .bind(_, let readOnly), .subvolume(_, _, let readOnly), .image(_, _, let readOnly, _),
            .device(_, _, let readOnly, _):
            readOnly
        case .overlay(_, let writable, _, _), .imageStack(_, let writable, _): writable == nil
        }
    }

    /// How overlay's lower layers are passed.
    package enum LowerForm: Sendable {
        /// `lowerdir=a:b:c`: every kernel.
        case joined
        /// One `lowerdir+=a` for each layer: kernel ≥ 6.7.
        case appended
    }

    /// Returns options as in fstab(5), in order.
    package func options(_ form: LowerForm) -> [String] {
        switch self {
        case .bind(_, let readOnly): return readOnly ? ["bind", "ro"] : ["bind"]
        case .subvolume(_, let id, let readOnly): return (readOnly ? ["ro"] : []) + ["subvolid=\(id)"]
        case .image(_, let type, let readOnly, let options):
            // mount(8) attaches a loop device by itself; from util-linux 2.41 on only if the kernel refuses the file.
            return (type == Self.erofs ? [] : ["loop"]) + (readOnly ? ["ro"] : []) + options
        case .device(_, _, let readOnly, let options):
            // A line has one option at least.
            return readOnly ? ["ro"] + options : options.isEmpty ? ["rw"] : options
        case .overlay(let lowers, let writable, let userAttributes, let noIndex):
            var options = [String]()
            if let writable {
                options += ["upperdir=\(writable.upper.string)", "workdir=\(writable.work.string)"]
            } else {
                options.append("ro")
            }
            switch form {
            case .joined: options.append("lowerdir=" + lowers.map(\.string).joined(separator: ":"))
            case .appended: options += lowers.map { "lowerdir+=\($0.string)" }
            }
            if userAttributes { options.append("userxattr") }
            if noIndex { options.append("index=off") }
            return options
        case .imageStack: return overlay.options(form)
        }
    }

    /// The mounts that this mount consists of, in order, each with its mount point; nil for the target. Only an
    /// `imageStack` has several: each image on the directory `fs` beside it, and the overlay of these.
    package var parts: [(mount: Mount, target: FilePath?)] {
        guard case .imageStack(let images, _, _) = self else { return [(self, nil)] }
        return images.map {
            (.image(file: $0, type: Self.erofs, readOnly: true, options: []), Self.mountPoint(of: $0))
        } + [(overlay, nil)]
    }

    /// The overlay of an `imageStack`, whose images are mounted; any other mount itself.
    private var overlay: Mount {
        guard case .imageStack(let images, let writable, let noIndex) = self else { return self }
        return .overlay(
            lowers: images.map(Self.mountPoint), writable: writable, userAttributes: false, noIndex: noIndex)
    }

    /// The directory beside an image that other programs than this one mount it on.
    package static func mountPoint(of image: FilePath) -> FilePath {
        image.removingLastComponent().appending("fs")
    }

    /// The options that containerd's snapshotters return for such a mount, in their order. They mean the same, but are
    /// meant for mount(2), and pass all lower layers in one option.
    package var containerdOptions: [String] {
        switch self {
        case .bind(_, let readOnly): return [readOnly ? "ro" : "rw", "rbind"]
        case .subvolume(_, let id, let readOnly): return ["subvolid=\(id)"] + (readOnly ? ["ro"] : [])
        // As containerd's own snapshotter for EROFS; `loop` permits a loop device.
        case .image(_, Self.erofs, _, _): return ["ro", "loop"]
        case .image(_, _, let readOnly, let options): return ["loop"] + options + [readOnly ? "ro" : "rw"]
        case .device(_, _, let readOnly, let options): return options + [readOnly ? "ro" : "rw"]
        case .overlay(let lowers, let writable, let userAttributes, let noIndex):
            var options = [String]()
            if let writable {
                options += ["workdir=\(writable.work.string)", "upperdir=\(writable.upper.string)"]
            }
            options.append("lowerdir=" + lowers.map(\.string).joined(separator: ":"))
            if userAttributes { options.append("userxattr") }
            if noIndex { options.append("index=off") }
            return options
        case .imageStack: return overlay.containerdOptions
        }
    }

    var paths: [FilePath] {
        switch self {
        case .bind(let source, _): [source]
        case .overlay(let lowers, let writable, _, _): lowers + (writable.map { [$0.upper, $0.work] } ?? [])
        case .subvolume(let device, _, _): [device]
        case .image(let file, _, _, _), .device(let file, _, _, _): [file]
        case .imageStack(let images, let writable, _):
            images + (writable.map { [$0.upper, $0.work] } ?? [])
        }
    }
}
