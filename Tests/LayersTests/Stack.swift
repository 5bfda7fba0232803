import Kernel
import Layers
import Layout
import Mounts
import OCI
import Streams
import SystemPackage
import TestSupport
import Testing

/// The layers of an image, applied in order to directories of their own.
final class Stack {
    let temporary: TemporaryDirectory
    /// Lowest first.
    private(set) var layers = [FilePath]()
    private(set) var warnings = [LayerWarning]()

    /// Modes are what an entry says, whatever the umask of the tests.
    private static let hasClearMask: Bool = {
        Process.clearFileModeMask()
        return true
    }()

    convenience init(_ image: [[TarEntry]], packing: Packing = .gzip) throws {
        let source = try TemporaryDirectory()
        let builder = try ImageBuilder(at: source.path.appending("layout"))
        let manifest = try builder.image(image.map { LayerBuilder($0) }, packing: packing)
        try self.init(manifest, of: try ImageLayout(opening: builder.path))
    }

    init(_ manifest: Descriptor, of layout: ImageLayout) throws {
        precondition(Self.hasClearMask)
        temporary = try TemporaryDirectory(in: try #require(Ability.scratch))
        try apply(manifest, of: layout)
    }

    private func apply(_ manifest: Descriptor, of layout: ImageLayout) throws {
        let pipeline = LayerPipeline(layout, cancellation: Cancellation())
        for step in try layout.load(manifest).steps {
            let lowers = try layers.reversed().map { try Directory(opening: $0) }
            let path = try temporary.makeDirectory("\(step.number)")
            let applied = try pipeline.apply(
                step, to: try Directory(opening: path), over: LowerView(lowers), progress: { _ in })
            layers.append(path)
            warnings += applied.warnings
        }
    }

    /// Lends the tree that the layers show together.
    func merged<Result>(_ body: (Directory) throws -> Result) throws -> Result {
        if layers.count == 1 { return try body(try Directory(opening: layers[0])) }
        let target = try temporary.makeDirectory("merged")
        let mount = Mount.overlay(lowers: layers.reversed(), writable: nil, noIndex: false)
        try MountPerformer.perform(mount, form: .joined, folder: temporary.path, on: target)
        let result = Swift.Result { try body(try Directory(opening: target)) }
        try MountPerformer.unmount(target)
        return try result.get()
    }

    var tree: TreeDump { get throws { try merged { try TreeDump(of: $0) } } }
    var outline: [String] { get throws { try merged { try LayersTests.outline(of: $0) } } }

    /// What the topmost layer's own directory holds, whiteouts and marks of overlay too.
    var top: [String] {
        get throws { try LayersTests.outline(of: try Directory(opening: layers[layers.count - 1])) }
    }
}

/// A tree in few words, one a path: `d/`, `f=content`, `h==first name of its link group`, `l->target`, `p|`, `c(1:3)`,
/// `hidden!` for a whiteout and `d/!` for an opaque directory.
func outline(of root: Directory) throws -> [String] {
    var lines = [(path: [UInt8], text: String)]()
    var names = [FileStatus.Identity: [[UInt8]]]()
    var found = [(path: [UInt8], directory: Directory, name: FileName, status: FileStatus)]()
    var pending: [(path: [UInt8], directory: Directory)] = [([], root)]
    while let (path, directory) = pending.popLast() {
        for name in try directory.names() {
            let child = path + name.bytes
            guard let status = try directory.status(of: name) else {
                lines.append((child, "\(escaped(child)) is listed, but is not there"))
                continue
            }
            found.append((child, directory, name, status))
            if status.isDirectory {
                pending.append((child + [UInt8(ascii: "/")], try directory.open(name)))
            } else if !status.isWhiteout {
                names[status.identity, default: []].append(child)
            }
        }
    }
    for (path, directory, name, status) in found {
        let group = names[status.identity]?.min { $0.lexicographicallyPrecedes($1) }
        let isFirst = group == nil || group == path
        let detail = isFirst ? try detail(of: name, in: directory, status) : "==" + escaped(group ?? [])
        lines.append((path, escaped(path) + detail))
    }
    return lines.sorted { $0.path.lexicographicallyPrecedes($1.path) }.map(\.text)
}

private func detail(of name: FileName, in directory: Directory, _ status: FileStatus) throws -> String {
    switch status.kind {
    case .regular:
        var content = [UInt8]()
        try directory.openFile(name).read(into: &content, limit: 100)
        return "=" + escaped(content)
    case .directory:
        let mark = try directory.extendedAttribute(AttributeName(literal: "trusted.overlay.opaque"), of: name)
        return mark == nil ? "/" : "/!"
    case .symlink: return "->" + escaped(try directory.readLink(name))
    case .fifo, .socket: return "|"
    case .character where status.isWhiteout: return "!"
    case .character(let device), .block(let device): return "(\(device.major):\(device.minor))"
    }
}

/// All orders of a few entries.
func permutations<Element>(_ elements: [Element]) -> [[Element]] {
    guard elements.count > 1 else { return [elements] }
    return elements.indices.flatMap { index in
        var rest = elements
        let element = rest.remove(at: index)
        return permutations(rest).map { [element] + $0 }
    }
}

extension TarEntry {
    /// `.wh.X` for the path of an X.
    static func whiteout(_ path: String) -> TarEntry {
        let parts = path.split(separator: "/")
        return .file(Bytes((parts.dropLast() + [".wh." + (parts.last ?? "")]).joined(separator: "/")))
    }

    static func opaque(_ directory: String) -> TarEntry {
        .file(Bytes(directory.isEmpty ? ".wh..wh..opq" : directory + "/.wh..wh..opq"))
    }
}

/// One row of a table: layers, and what they show.
struct Row: Sendable, CustomStringConvertible {
    let name: String
    /// The layers below, lowest first.
    let below: [[TarEntry]]
    let layer: [TarEntry]
    let shows: [String]
    /// What the layer's own directory holds; nil is not looked at.
    let leaves: [String]?

    init(
        _ name: String, below: [TarEntry]..., layer: [TarEntry], shows: [String], leaves: [String]? = nil
    ) {
        self.name = name
        self.below = below
        self.layer = layer
        self.shows = shows
        self.leaves = leaves
    }

    var description: String { name }

    func check(_ layer: [TarEntry]) throws {
        let stack = try Stack(below + [layer])
        let order = layer.map(\.description).joined(separator: ", ")
        if Ability.canMountOverlay {
            let shown = try stack.outline
            #expect(shown == shows, "\(name): \(order)")
        }
        let left = try stack.top
        #expect(leaves == nil || left == leaves, "\(name): \(order)")
    }
}
