import Kernel
import TestSupport

/// What an image shows, as a value: the rules of `docs/spec-notes.md` said a second time, without a file system and
/// without a line of the room that they are held against.
///
/// It takes one layer after the other and knows nothing of overlay: no whiteout files, no opaque marks, no copies. A
/// tree is a table of paths; two paths with the same `FileID` are names of one link group.
struct MergedModel {
    typealias Path = [Bytes]
    typealias FileID = Int

    enum Node: Equatable {
        case directory(Metadata)
        case file(FileID)
    }

    /// Everything that is no directory.
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

        /// Of a directory that no entry lists and no lower layer has.
        static let implicit = Metadata()
    }

    /// The layer asks for what no layer may.
    struct Refusal: Error {
        let reason: String
    }

    /// The layer's whiteouts and the symlinks below hide each other: no order of reading them is the right one.
    struct Contradiction: Error {}

    var nodes = [Path: Node]()
    /// Never smaller: what no path names any more is left where it is.
    var files = [File]()

    init() {}

    init(_ image: [[TarEntry]]) throws { for layer in image { self = try applying(layer) } }

    /// The tree with one more layer.
    ///
    /// Whiteouts act whatever their order, so a whiteout at the layer's end may hide a symlink that its first entry
    /// would go through. The layer is therefore read until a reading finds overridden just the symlinks that it took
    /// for overridden.
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

    /// Where a symlink at a path leads.
    func linkTarget(_ path: Path) -> Bytes? {
        guard case .file(let id) = nodes[path], case .symlink(let target) = files[id].kind else { return nil }
        return target
    }
}

// MARK: - The same text as TreeDump's

extension MergedModel {
    /// Line for line what `TreeDump` says about the real tree.
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
