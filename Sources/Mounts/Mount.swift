internal import Kernel
package import SystemPackage

/// How a snapshot's tree is mounted: described here, performed by whoever wants it mounted.
package enum Mount: Hashable, Sendable {
    /// One directory, attached a second time.
    case bind(source: FilePath, readOnly: Bool)
    /// Layers on top of each other, topmost first. Without an upper it is read-only, and has two lowers at
    /// least: overlay refuses one (kernel: overlayfs.rst, "Multiple lower layers").
    ///
    /// `userAttributes` lets overlay keep its marks in `user.overlay.*` (kernel ≥ 5.11).
    case overlay(lowers: [FilePath], writable: Writable?, userAttributes: Bool, noIndex: Bool)
    /// A subvolume of the btrfs that is on a block device.
    case subvolume(device: FilePath, id: UInt64, readOnly: Bool)
    /// A file that holds a file system, by a loop device. `options` are the file system's own.
    case image(file: FilePath, type: String, readOnly: Bool, options: [String])

    package struct Writable: Hashable, Sendable {
        package let upper: FilePath
        /// An empty directory beside `upper`, for the kernel's own use.
        package let work: FilePath

        package init(upper: FilePath, work: FilePath) {
            self.upper = upper
            self.work = work
        }
    }

    /// What the kernel calls the type of file system.
    package var type: String {
        switch self {
        case .bind: "bind"
        case .overlay: "overlay"
        case .subvolume: "btrfs"
        case .image(_, let type, _, _): type
        }
    }

    package var source: String {
        switch self {
        case .bind(let source, _): source.string
        case .overlay: "overlay"
        case .subvolume(let device, _, _): device.string
        case .image(let file, _, _, _): file.string
        }
    }

    package var isReadOnly: Bool {
        switch self {
        case .bind(_, let readOnly), .subvolume(_, _, let readOnly), .image(_, _, let readOnly, _): readOnly
        case .overlay(_, let writable, _, _): writable == nil
        }
    }

    /// How the lower layers are written down.
    package enum LowerForm: Sendable {
        /// `lowerdir=a:b:c`, every kernel.
        case joined
        /// One `lowerdir+=a` a layer, kernel ≥ 6.7.
        case appended
    }

    /// fstab-style options, in order.
    package func options(_ form: LowerForm) -> [String] {
        switch self {
        case .bind(_, let readOnly): return readOnly ? ["bind", "ro"] : ["bind"]
        case .subvolume(_, let id, let readOnly): return (readOnly ? ["ro"] : []) + ["subvolid=\(id)"]
        case .image(_, _, let readOnly, let options): return ["loop"] + (readOnly ? ["ro"] : []) + options
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
        }
    }

    /// The options as containerd's snapshotters give them for such a mount, in their order: they mean the same, but are
    /// for mount(2), and lower layers are always one option.
    package var containerdOptions: [String] {
        switch self {
        case .bind(_, let readOnly): return [readOnly ? "ro" : "rw", "rbind"]
        case .subvolume(_, let id, let readOnly): return ["subvolid=\(id)"] + (readOnly ? ["ro"] : [])
        case .image(_, _, let readOnly, let options): return ["loop"] + options + [readOnly ? "ro" : "rw"]
        case .overlay(let lowers, let writable, let userAttributes, let noIndex):
            var options = [String]()
            if let writable {
                options += ["workdir=\(writable.work.string)", "upperdir=\(writable.upper.string)"]
            }
            options.append("lowerdir=" + lowers.map(\.string).joined(separator: ":"))
            if userAttributes { options.append("userxattr") }
            if noIndex { options.append("index=off") }
            return options
        }
    }

    var paths: [FilePath] {
        switch self {
        case .bind(let source, _): [source]
        case .overlay(let lowers, let writable, _, _): lowers + (writable.map { [$0.upper, $0.work] } ?? [])
        case .subvolume(let device, _, _): [device]
        case .image(let file, _, _, _): [file]
        }
    }
}
