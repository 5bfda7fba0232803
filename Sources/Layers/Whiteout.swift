internal import Archive
internal import Kernel

/// Meaning of an entry's name for the layers below (OCI image spec, layer.md, "Whiteouts"; AUFS).
enum Whiteout {
    /// An ordinary entry.
    case none
    /// `.wh.X`: hides X of the lower layers.
    case hide(FileName)
    /// `.wh..wh..opq`: hides all entries of the directory in the lower layers.
    case opaque
    /// AUFS bookkeeping at the layer's root.
    case bookkeeping
    /// A file in AUFS's pseudo-link directory: target of the hard links of a file with several names.
    case pseudoLink

    private static let prefix: StaticString = ".wh."
    private static let reservedPrefix: StaticString = ".wh..wh."
    private static let opaqueName = FileName(literal: ".wh..wh..opq")
    /// AUFS's pseudo-link directory, which contains the files that have several names.
    static let pseudoLinkDirectory = FileName(literal: ".wh..wh.plnk")

    /// Directory for copied-up files until the end of the layer. No entry can have the name.
    static let copiedUpDirectory = FileName(literal: ".wh..wh.unpack")

    /// The whiteout `.wh.X` for X; nil if X itself begins with `.wh.`, so that the whiteout would have another meaning.
    static func name(hiding hidden: FileName) -> FileName? {
        isReserved(hidden) ? nil : FileName(whiteoutOf: hidden)
    }

    /// Whether the name begins with `.wh.`, so that no file of a layer can have it.
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
        } else if first == 0, name == Self.pseudoLinkDirectory, path.components.count == 2, entry.isRegular {
            self = .pseudoLink
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
