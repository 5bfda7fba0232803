import Kernel
import TestSupport

/// The merged tree of an image as a value: a second implementation of the rules of `docs/spec-notes.md`, without a file
/// system and without code of the module `Layers`.
///
/// It merges one layer after the other, without overlay's whiteouts, opaque marks and copies. A tree maps paths to
/// files; two paths with the same `FileID` are names of one hard-link group.
struct MergedModel {
    typealias Path = [Bytes]
    typealias FileID = Int

    enum Node: Equatable {
        case directory(Metadata)
        case file(FileID)
    }

    /// A file that is not a directory.
    struct File {
        enum Kind: Equatable {
            case regular(Bytes)
            case symlink(to: Bytes)
            case fifo
            case character(Int64, Int64)
            case block(Int64, Int64)
        }

        let kind: Kind
        var metadata: Metadata
    }

    struct Metadata: Equatable {
        var mode: Int64 = 0o755
        var uid: Int64 = 0
        var gid: Int64 = 0
        var seconds: Int64 = 0
        var nanoseconds: Int64 = 0
        var attributes = [String: Bytes]()

        /// Metadata of a directory that no entry lists and no lower layer has.
        static let implicit = Metadata()
    }

    /// The layer violates a rule.
    struct Refusal: Error {
        let reason: String
    }

    /// The layer's whiteouts and the symlinks below contradict each other: no reading is consistent.
    struct Contradiction: Error {}

    var nodes = [Path: Node]()
    /// All files. Files that no longer have a path are not removed.
    var files = [File]()

    init() {}

    init(_ image: [[TarEntry]]) throws { for layer in image { self = try applying(layer) } }

    /// Returns the tree with one more layer.
    ///
    /// Whiteouts apply whatever their order, so that a whiteout at the end of the layer may hide a symlink that its
    /// first entry would traverse. The layer is therefore read again until a reading overrides exactly the symlinks
    /// that it has assumed to be overridden.
    func applying(_ layer: [TarEntry]) throws -> MergedModel {
        var overridden = Set<Path>()
        for _ in 1...16 {
            var reading = LayerReading(over: self, overridden: overridden)
            reading.read(layer)
            if reading.overriddenLinks == overridden {
                if let refusal = reading.refusal { throw refusal }
                return reading.merged
            }
            overridden = reading.overriddenLinks
        }
        throw Contradiction()
    }

    func isDirectory(_ path: Path) -> Bool {
        if case .directory = nodes[path] { return true }
        return false
    }

    /// Target of the symlink at a path; nil if there is none.
    func linkTarget(_ path: Path) -> Bytes? {
        guard case .file(let id) = nodes[path], case .symlink(let target) = files[id].kind else { return nil }
        return target
    }
}

// MARK: - The text of TreeDump

extension MergedModel {
    /// The lines that `TreeDump` prints for the real tree.
    var lines: [String] {
        let shown = nodes.map { (path: Self.text($0.key), node: $0.value) }
            .sorted { $0.path.lexicographicallyPrecedes($1.path) }
        var groups = [FileID: [[UInt8]]]()
        for case (let path, .file(let id)) in shown { groups[id, default: []].append(path) }
        return shown.map { path, node in
            switch node {
            case .directory(let metadata):
                return "\(escaped(path)) d \(metadata.text)\(metadata.attributeText)"
            case .file(let id):
                let names = groups[id] ?? []
                let group = names.count > 1 ? " group=\(escaped(names[0]))" : ""
                return "\(escaped(path)) \(files[id].text)\(group)"
            }
        }
    }

    private static func text(_ path: Path) -> [UInt8] {
        path.isEmpty ? [UInt8(ascii: ".")] : Array(path.map(\.array).joined(separator: [UInt8(ascii: "/")]))
    }
}

extension MergedModel.File {
    fileprivate var text: String {
        let (letter, detail) =
            switch kind {
            case .regular(let content): ("-", " \(content.array.count) \(sha256(of: content.array))")
            case .symlink(let target): ("l", " -> \(escaped(target.array))")
            case .fifo: ("p", "")
            case .character(let major, let minor): ("c", " \(major):\(minor)")
            case .block(let major, let minor): ("b", " \(major):\(minor)")
            }
        return "\(letter) \(metadata.text)\(detail)\(metadata.attributeText)"
    }
}

extension MergedModel.Metadata {
    fileprivate var text: String {
        "\(Self.padded(String(mode, radix: 8), 4)) \(uid):\(gid) \(seconds).\(Self.padded(String(nanoseconds), 9))"
    }

    fileprivate var attributeText: String {
        attributes.sorted { $0.key < $1.key }.map { name, value in
            " \(name)=" + value.array.map { Self.padded(String($0, radix: 16), 2) }.joined()
        }.joined()
    }

    private static func padded(_ digits: String, _ width: Int) -> String {
        String(repeating: "0", count: max(0, width - digits.utf8.count)) + digits
    }
}
