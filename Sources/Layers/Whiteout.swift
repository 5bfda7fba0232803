internal import Archive
internal import Kernel

/// What an entry's name says about the layers below (OCI image spec, layer.md, "Whiteouts"; AUFS).
enum Whiteout {
    /// An ordinary entry.
    case none
    /// `.wh.X`: X of the lower layers is hidden.
    case hide(FileName)
    /// `.wh..wh..opq`: everything that the lower layers have in the directory is hidden.
    case opaque
    /// AUFS bookkeeping at the layer's root.
    case bookkeeping
    /// A file that AUFS keeps aside because it has several names, which are hard links to it.
    case kept

    private static let prefix: StaticString = ".wh."
    private static let reservedPrefix: StaticString = ".wh..wh."
    private static let opaqueName = FileName(literal: ".wh..wh..opq")
    /// Where AUFS keeps the files that have several names.
    static let keptFolder = FileName(literal: ".wh..wh.plnk")

    /// Where this program keeps lower files until a layer's end: no entry can have the name.
    static let asideFolder = FileName(literal: ".wh..wh.unpack")

    /// `.wh.X` for X; nil if that means something else.
    static func name(hiding hidden: FileName) -> FileName? {
        isReserved(hidden) ? nil : FileName(whiteoutOf: hidden)
    }

    /// Whether no file of a layer can have the name.
    static func isReserved(_ name: FileName) -> Bool { name.hasPrefix(prefix) }

    init(_ entry: Entry) throws(LayerFailure) {
        let path = entry.path
        guard let first = path.components.firstIndex(where: Self.isReserved) else {
            self = .none
            return
        }
        let name = path.components[first]
        let isLast = first == path.components.count - 1
        if isLast, name == Self.opaqueName {
            self = .opaque
        } else if first == 0, name == Self.keptFolder, path.components.count == 2, entry.isRegular {
            self = .kept
        } else if first == 0, name.hasPrefix(Self.reservedPrefix) {
            self = .bookkeeping
        } else if !isLast {
            throw LayerFailure(refusing: path, "a path through a whiteout")
        } else if let hidden = FileName(name.bytes.dropFirst(Self.prefix.utf8CodeUnitCount)) {
            self = .hide(hidden)
        } else {
            throw LayerFailure(refusing: path, "a whiteout that names no file of its directory")
        }
    }
}

extension Entry {
    fileprivate var isRegular: Bool {
        if case .regular = content { return true }
        return false
    }
}
