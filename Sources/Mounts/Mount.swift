internal import Kernel
package import SystemPackage

/// How a snapshot's tree is mounted: described here, performed by whoever wants it mounted.
package enum Mount: Hashable, Sendable {
    /// One directory, attached a second time.
    case bind(source: FilePath, readOnly: Bool)
    /// Layers on top of each other, topmost first. Without an upper it is read-only, and has two lowers at
    /// least: overlay refuses one (kernel: overlayfs.rst, "Multiple lower layers").
    case overlay(lowers: [FilePath], writable: Writable?, noIndex: Bool)

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
        }
    }

    package var source: String {
        switch self {
        case .bind(let source, _): source.string
        case .overlay: "overlay"
        }
    }

    package var isReadOnly: Bool {
        switch self {
        case .bind(_, let readOnly): readOnly
        case .overlay(_, let writable, _): writable == nil
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
        case .overlay(let lowers, let writable, let noIndex):
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
            if noIndex { options.append("index=off") }
            return options
        }
    }

    var paths: [FilePath] {
        switch self {
        case .bind(let source, _): [source]
        case .overlay(let lowers, let writable, _): lowers + (writable.map { [$0.upper, $0.work] } ?? [])
        }
    }
}
