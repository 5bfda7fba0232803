internal import Archive
internal import FoundationEssentials
internal import Kernel
internal import Layers

/// One path of an image or a snapshot, as JSON.
package struct FileDocument: Encodable {
    /// Absolute. If it is not UTF-8, it is escaped as for a terminal, and `pathBytes` has its bytes.
    let path: String
    let pathBytes: Data?
    let type: String
    /// Octal, in the form of chmod(1).
    let mode: String
    let uid: UInt32
    let gid: UInt32
    /// Size of a regular file in bytes, holes included.
    let size: Int64?
    let mtime: String
    let target: String?
    let targetBytes: Data?
    /// `major:minor`.
    let device: String?
    /// Number of hard links; nil if it is not known.
    let links: Int?
    /// Values in base64.
    let xattrs: [String: Data]?
    /// The layer that it comes from, counted from 1; nil for a file of a snapshot.
    let layer: Int32?
    /// The entry in the layer's archive, counted from 0; nil for a directory that no entry lists.
    let entry: Int32?

    init(_ file: ImageTree.File, at path: [FileName], links: Int?) {
        let bytes = [UInt8](path.map { [UInt8(ascii: "/")] + $0.bytes }.joined())
        (self.path, pathBytes) = Self.text(bytes.isEmpty ? [UInt8(ascii: "/")] : bytes)
        type = file.content.name
        let metadata = file.metadata
        mode = octal(metadata.mode)
        uid = metadata.uid
        gid = metadata.gid
        mtime = UTC(metadata.modificationTime).rfc3339
        size = if case .regular(let size) = file.content { size } else { nil }
        (target, targetBytes) =
            if case .symlink(let target) = file.content { Self.text(target) } else { (nil, nil) }
        device =
            switch file.content {
            case .character(let device), .block(let device): "\(device.major):\(device.minor)"
            default: nil
            }
        self.links = links
        xattrs =
            metadata.extendedAttributes.isEmpty
            ? nil
            : Dictionary(metadata.extendedAttributes.map { ($0.name.description, Data($0.value)) }) {
                first, _ in
                first
            }
        layer = file.origin.layer > 0 ? file.origin.layer : nil
        entry = file.origin.entry
    }

    private static func text(_ bytes: [UInt8]) -> (String, Data?) {
        if let text = String(validating: bytes, as: UTF8.self) { return (text, nil) }
        return (escaped(bytes), Data(bytes))
    }
}

/// A mode in the form of chmod(1).
func octal(_ mode: UInt32) -> String { String(mode, radix: 8, minimumDigits: 4) }

extension ImageTree.Content {
    /// The name of the file type in JSON.
    var name: String {
        switch self {
        case .regular: "file"
        case .directory: "directory"
        case .symlink: "symlink"
        case .fifo: "fifo"
        case .socket: "socket"
        case .character: "character"
        case .block: "block"
        }
    }

    private var letter: String {
        switch self {
        case .regular: "-"
        case .directory: "d"
        case .symlink: "l"
        case .fifo: "p"
        case .socket: "s"
        case .character: "c"
        case .block: "b"
        }
    }

    /// The type and the mode as in the first column of `ls -l`, with a `+` if there are extended attributes.
    func permissions(_ metadata: Metadata) -> String {
        let mode = metadata.mode
        func triple(_ shift: UInt32, _ special: UInt32, _ letters: (set: Character, plain: Character))
            -> String
        {
            let bits = mode >> shift & 7
            let isExecutable = bits & 1 != 0
            let last: Character =
                mode & special == 0 ? (isExecutable ? "x" : "-") : isExecutable ? letters.plain : letters.set
            return (bits & 4 != 0 ? "r" : "-") + (bits & 2 != 0 ? "w" : "-") + String(last)
        }
        return letter + triple(6, 0o4000, ("S", "s")) + triple(3, 0o2000, ("S", "s"))
            + triple(0, 0o1000, ("T", "t"))
            + (metadata.extendedAttributes.isEmpty ? "" : "+")
    }

    /// The column with the size in bytes, or with a device's numbers.
    var sizeColumn: String {
        switch self {
        case .regular(let size): "\(size)"
        case .symlink(let target): "\(target.count)"
        case .character(let device), .block(let device): "\(device.major),\(device.minor)"
        case .directory, .fifo, .socket: "-"
        }
    }

    /// A noun phrase for the middle of a sentence.
    var summary: String {
        switch self {
        case .regular(let size): "file of \(size) bytes"
        case .directory: "directory"
        case .symlink(let target): "symlink to '\(escaped(target))'"
        case .fifo: "FIFO"
        case .socket: "socket"
        case .character(let device): "character device \(device.major):\(device.minor)"
        case .block(let device): "block device \(device.major):\(device.minor)"
        }
    }
}
