import Compression
import Kernel
import Layers
import Layout
import Mounts
import OCI
import Streams
import SystemPackage
import TestSupport
import Testing

/// How layers are kept and applied. All ways show the same tree.
struct Way: Sendable, CaseIterable, CustomStringConvertible {
    enum Backend: String, CaseIterable {
        /// Overlay with whiteouts of the one form or the other.
        case devices, attributes
        /// One directory, in which what a layer hides is deleted.
        case merged
        /// Overlay with the lowest layer below one directory for all others, with whiteouts of the one form or the other.
        case collected, collectedAttributes
    }

    let backend: Backend
    /// Whether no layer knows those below before it has been read.
    var isParallel = false
    /// Whether directories are forgotten as soon as they can be.
    var settlesAtOnce = false

    static let plain = Way(backend: .devices)

    static let allCases =
        Backend.allCases.map { Way(backend: $0) } + [
            Way(backend: .devices, isParallel: true), Way(backend: .attributes, isParallel: true),
            Way(backend: .devices, settlesAtOnce: true),
            Way(backend: .devices, isParallel: true, settlesAtOnce: true),
        ]

    static var possible: [Way] {
        allCases.filter {
            ![.attributes, .collectedAttributes].contains($0.backend) || Ability.canMountAttributeWhiteouts
        }
    }

    var description: String {
        "\(backend)\(isParallel ? ", in parallel" : "")\(settlesAtOnce ? ", settled at once" : "")"
    }

    var form: WhiteoutForm {
        switch backend {
        case .devices, .collected: .device
        case .attributes, .collectedAttributes, .merged: .attribute
        }
    }
}

/// The layers of an image, applied to directories of their own.
final class Stack {
    let temporary: TemporaryDirectory
    private let way: Way
    /// Lowest first; one alone where they are merged.
    private(set) var layers = [FilePath]()
    private(set) var warnings = [LayerWarning]()
    /// One a layer; none where they are merged into the one tree.
    private var digests = [ContentDigests]()
    /// Names of files of which a layer reported the digest, rightly.
    private(set) var knownDigests = 0

    /// Modes are what an entry says, whatever the umask of the tests.
    private static let hasClearMask: Bool = {
        Process.takeOver()
        return true
    }()

    convenience init(_ image: [[TarEntry]], packing: Packing = .gzip, way: Way = .plain) throws {
        let source = try TemporaryDirectory()
        let builder = try ImageBuilder(at: source.path.appending("layout"))
        let manifest = try builder.image(image.map { LayerBuilder($0) }, packing: packing)
        try self.init(manifest, of: try ImageLayout(opening: builder.path), way: way)
    }

    init(_ manifest: Descriptor, of layout: ImageLayout, way: Way = .plain) throws {
        precondition(Self.hasClearMask)
        temporary = try TemporaryDirectory(in: try #require(Ability.scratch))
        self.way = way
        let pipeline = LayerPipeline(
            layout, form: way.form, budget: Budget(), cancellation: Cancellation(), keepsDigests: true,
            settlingInterval: way.settlesAtOnce ? 0 : LayerPipeline.defaultSettlingInterval)
        let steps = try layout.load(manifest).steps
        if way.backend == .merged {
            try merge(steps, pipeline)
        } else if [.collected, .collectedAttributes].contains(way.backend) {
            try collect(steps, pipeline)
        } else if way.isParallel {
            try applyAtOnce(steps, pipeline)
        } else {
            try apply(steps, pipeline)
        }
        for (path, digests) in zip(layers, digests) { try check(digests, in: Directory(opening: path)) }
    }

    /// The digest that is reported of a file is that of its content.
    private func check(_ digests: ContentDigests, in root: Directory) throws {
        var pending = [root]
        while let directory = pending.popLast() {
            for name in try directory.names() {
                guard let status = try directory.status(of: name) else { continue }
                if status.isDirectory { pending.append(try directory.open(name)) }
                try check(digests, name, status, in: directory)
            }
        }
    }

    private func check(
        _ digests: ContentDigests, _ name: FileName, _ status: FileStatus, in directory: Directory
    ) throws {
        guard status.kind == .regular, status.size < 1 << 24, let digest = digests[status] else {
            return
        }
        var content = [UInt8]()
        try directory.openFile(name).read(into: &content, limit: Int(status.size) + 1)
        var actual = ContentDigester()
        actual.update(content.span.bytes, at: 0)
        #expect(actual.finish(size: status.size) == digest, "\(name)")
        knownDigests += 1
    }

    private func apply(_ steps: [LayerStep], _ pipeline: LayerPipeline) throws {
        for step in steps {
            let lowers = LowerView(try layers.reversed().map { try Directory(opening: $0) })
            let path = try temporary.makeDirectory("\(step.number)")
            let applied = try pipeline.apply(
                step, to: try Directory(opening: path), over: Promise(lowers))
            layers.append(path)
            warnings += applied.warnings
            digests.append(applied.digests)
        }
    }

    private func merge(_ steps: [LayerStep], _ pipeline: LayerPipeline) throws {
        let path = try temporary.makeDirectory("tree")
        let tree = try Directory(opening: path)
        for step in steps {
            let layer = try Directory(opening: try temporary.makeDirectory("\(step.number)"))
            let lower = LowerView(step.parent == nil ? [] : [tree])
            let applied = try pipeline.apply(step, to: layer, over: Promise(lower))
            try tree.merge(layer)
            #expect(try layer.names().isEmpty)
            warnings += applied.warnings
        }
        layers = [path]
    }

    private func collect(_ steps: [LayerStep], _ pipeline: LayerPipeline) throws {
        for step in steps {
            // What has no names counts as new, whatever a layer has made of its root.
            if try layers.count < 2 || Directory(opening: layers[layers.count - 1]).names().isEmpty {
                let path = try temporary.makeDirectory("\(step.number)")
                try Directory(opening: path).file.setMode(0o755)
                layers.append(path)
            }
            var lowers = try layers.reversed().map { try Directory(opening: $0) }
            let own = lowers.removeFirst()
            let target = step.number == 1 ? LayerTarget.tree(own) : .upper(own, over: lowers)
            let found = try pipeline.apply(step.descriptor, onto: target)
            #expect(found.content.diffID == step.diffID)
            warnings += found.warnings
        }
    }

    /// All at once, and none completed before every one above it waits for what lies below.
    private func applyAtOnce(_ steps: [LayerStep], _ pipeline: LayerPipeline) throws {
        let paths = try steps.map { try temporary.makeDirectory("\($0.number)") }
        let promises = steps.map { _ in Promise<LowerView?>() }
        let ends = steps.map { _ in Promise<Bool>() }
        let threads = try zip(steps, paths).map { step, path in
            let directory = try Directory(opening: path)
            return try WorkerThread {
                defer {
                    ends[step.number - 1].fulfil(true)
                    if step.number < steps.count { promises[step.number].fulfil(nil) }
                }
                let applied = try pipeline.apply(step, to: directory, over: promises[step.number - 1])
                if step.number < steps.count {
                    promises[step.number].fulfil(promises[step.number - 1].wait()?.adding(directory))
                }
                return applied
            }
        }
        for (promise, end) in zip(promises, ends) {
            while !promise.isAwaited, end.value == nil { Process.sleep(milliseconds: 1) }
        }
        promises[0].fulfil(LowerView([]))
        let results = threads.map { thread in Result { try thread.join() } }
        let applied = try results.map { try $0.get() }
        warnings = applied.flatMap(\.warnings)
        digests = applied.map(\.digests)
        layers = paths
    }

    /// Lends the tree that the layers show together.
    func merged<Result>(_ body: (Directory) throws -> Result) throws -> Result {
        if layers.count == 1 { return try body(try Directory(opening: layers[0])) }
        let target = try temporary.makeDirectory("merged")
        let mount = Mount.overlay(
            lowers: layers.reversed(), writable: nil, userAttributes: false, noIndex: false)
        try MountPerformer.perform(mount, form: .joined, folder: temporary.path, on: target)
        let result = Swift.Result { try body(try Directory(opening: target)) }
        try unmountWhenFree(target)
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

    /// Applies the layers in every way.
    func check(_ layer: [TarEntry]) throws {
        let order = layer.map(\.description).joined(separator: ", ")
        let plain = try Stack(below + [layer])
        let left = try plain.top
        #expect(leaves == nil || left == leaves, "\(name): \(order)")
        guard Ability.canMountOverlay else { return }
        let shown = try plain.outline
        #expect(shown == shows, "\(name): \(order)")
        let tree = try plain.tree
        let value = try ImageTree(below + [layer])
        #expect(
            value.lines { _, _ in "…" } == tree.lines.map(\.withoutDigest), "\(name), as a value: \(order)")
        for way in Way.possible {
            let other = try Stack(below + [layer], way: way)
            let otherTree = try other.tree
            #expect(otherTree == tree, "\(name), \(way): \(order)")
            if way.backend == .devices {
                let otherLeft = try other.top
                #expect(otherLeft == left, "\(name), \(way): \(order)")
            }
        }
    }
}
