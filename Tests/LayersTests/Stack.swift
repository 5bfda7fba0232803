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

/// A way to store and apply layers. All variants show the same tree.
struct Variant: Sendable, CaseIterable, CustomStringConvertible {
    enum Backend: String, CaseIterable {
        /// Overlay with a directory for each layer, and whiteouts as devices or as attributes.
        case devices, attributes
        /// One merged directory, in which hidden files are deleted.
        case merged
        /// Overlay with one directory for the lowest layer and one for all others, and whiteouts as devices or as
        /// attributes.
        case collected, collectedAttributes
        /// Overlay with an EROFS image for each layer.
        case images
    }

    let backend: Backend
    /// Whether each layer is read before the layers below are known.
    var isParallel = false
    /// Whether directories are finalized as early as possible.
    var finalizesEarly = false

    static let plain = Variant(backend: .devices)

    static let allCases =
        Backend.allCases.map { Variant(backend: $0) } + [
            Variant(backend: .devices, isParallel: true), Variant(backend: .attributes, isParallel: true),
            Variant(backend: .devices, finalizesEarly: true),
            Variant(backend: .devices, isParallel: true, finalizesEarly: true),
            Variant(backend: .images, isParallel: true),
        ]

    static var supported: [Variant] {
        allCases.filter {
            switch $0.backend {
            case .attributes, .collectedAttributes: TestEnvironment.canMountAttributeWhiteouts
            case .images: TestEnvironment.canMountErofsDevice
            case .devices, .merged, .collected: true
            }
        }
    }

    var description: String {
        "\(backend)\(isParallel ? ", in parallel" : "")\(finalizesEarly ? ", finalized early" : "")"
    }

    var form: WhiteoutForm {
        switch backend {
        case .devices, .collected, .images: .device
        case .attributes, .collectedAttributes, .merged: .attribute
        }
    }
}

/// The layers of an image, each applied to its own directory.
final class Stack {
    let temporary: TemporaryDirectory
    private let variant: Variant
    /// Directories of the layers, lowest first; only one for `merged`.
    private(set) var layers = [FilePath]()
    private(set) var warnings = [LayerWarning]()
    /// One for each layer; empty for `merged`.
    private var digests = [ContentDigests]()
    /// Mount points of images.
    private var mounted = [FilePath]()
    /// Number of file names for which a layer reported a digest; all digests are checked.
    private(set) var knownDigests = 0

    /// Sets the umask to 0, so that the modes of the entries apply.
    private static let hasClearMask: Bool = {
        Process.setUp()
        return true
    }()

    convenience init(_ image: [[TarEntry]], packing: Packing = .gzip, variant: Variant = .plain) throws {
        let source = try TemporaryDirectory()
        let builder = try ImageBuilder(at: source.path.appending("layout"))
        let manifest = try builder.image(image.map { LayerBuilder($0) }, packing: packing)
        try self.init(manifest, of: try ImageLayout(opening: builder.path), variant: variant)
    }

    init(_ manifest: Descriptor, of layout: ImageLayout, variant: Variant = .plain) throws {
        precondition(Self.hasClearMask)
        temporary = try TemporaryDirectory(in: try #require(TestEnvironment.scratch))
        self.variant = variant
        let pipeline = LayerPipeline(
            layout, form: variant.form, budget: Budget(), cancellation: Cancellation(), keepsDigests: true,
            earlyFinalizationInterval: variant.finalizesEarly
                ? 0 : LayerPipeline.defaultEarlyFinalizationInterval)
        let steps = try layout.load(manifest).steps
        if variant.backend == .merged {
            try merge(steps, pipeline)
        } else if variant.backend == .images {
            try write(steps, pipeline)
        } else if [.collected, .collectedAttributes].contains(variant.backend) {
            try collect(steps, pipeline)
        } else if variant.isParallel {
            try applyInParallel(steps, pipeline)
        } else {
            try apply(steps, pipeline)
        }
        for (path, digests) in zip(layers, digests) { try check(digests, in: Directory(opening: path)) }
    }

    /// Checks that the reported digests match the content of the files.
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

    private func write(_ steps: [LayerStep], _ pipeline: LayerPipeline) throws {
        let folder = temporary.path
        let images: [(layer: AppliedLayer, image: LayerImage)]
        if variant.isParallel {
            images = try inParallel(steps) { step, below in
                try Self.write(step, over: below, in: folder, pipeline)
            } adding: { _, written, below in
                try below.adding(topLayer: written.image)
            }
        } else {
            images = try steps.reduce(into: []) { images, step in
                let below = try LowerView(images: images.reversed().map(\.image))
                images.append(try Self.write(step, over: Promise(below), in: folder, pipeline))
            }
        }
        warnings = images.flatMap(\.layer.warnings)
        for step in steps {
            let target = try temporary.makeDirectory("\(step.number)")
            try MountPerformer.perform(
                .image(
                    file: Self.image(of: step, in: folder), type: "erofs", readOnly: true, options: []),
                form: .joined, folder: folder, on: target)
            layers.append(target)
            mounted.append(target)
        }
    }

    private static func image(of step: LayerStep, in folder: FilePath) -> FilePath {
        folder.appending("\(step.number).erofs")
    }

    private static func write(
        _ step: LayerStep, over below: Promise<LowerOutcome>, in folder: FilePath, _ pipeline: LayerPipeline
    ) throws -> (layer: AppliedLayer, image: LayerImage) {
        let path = image(of: step, in: folder)
        let layer = try pipeline.write(
            step, to: try File.open(path, .readWriteCreate, mode: 0o600),
            scratch: try Directory(opening: folder), over: below)
        return (layer, try LayerImage(try File.open(path, .read)))
    }

    deinit { for target in mounted { try? MountPerformer.unmount(target) } }

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
            // A directory without entries counts as new, even if a layer has changed the metadata of its root.
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

    private func applyInParallel(_ steps: [LayerStep], _ pipeline: LayerPipeline) throws {
        layers = try steps.map { try temporary.makeDirectory("\($0.number)") }
        let directories = try layers.map { try Directory(opening: $0) }
        let applied = try inParallel(steps) { step, below in
            try pipeline.apply(step, to: directories[step.number - 1], over: below)
        } adding: { step, _, below in
            below.adding(topLayer: directories[step.number - 1])
        }
        warnings = applied.flatMap(\.warnings)
        digests = applied.map(\.digests)
    }

    /// Runs `apply` for all layers in parallel. None is completed before each one above it waits for its lower view.
    ///
    /// - Parameter adding: adds a completed layer to its lower view.
    private func inParallel<Layer: Sendable>(
        _ steps: [LayerStep],
        _ apply: @escaping @Sendable (LayerStep, Promise<LowerOutcome>) throws -> Layer,
        adding: @escaping @Sendable (LayerStep, Layer, LowerView) throws -> LowerView
    ) throws -> [Layer] {
        let promises = steps.map { _ in Promise<LowerOutcome>() }
        let ends = steps.map { _ in Promise<Bool>() }
        let threads = try steps.map { step in
            try WorkerThread {
                defer {
                    ends[step.number - 1].fulfil(true)
                    if step.number < steps.count { promises[step.number].fulfil(.failed) }
                }
                let layer = try apply(step, promises[step.number - 1])
                if step.number < steps.count {
                    let below = try promises[step.number - 1].wait().view()
                    promises[step.number].fulfil(try adding(step, layer, below))
                }
                return layer
            }
        }
        for (promise, end) in zip(promises, ends) {
            while !promise.isAwaited, end.value == nil { Process.sleep(milliseconds: 1) }
        }
        promises[0].fulfil(LowerView([]))
        let results = threads.map { thread in Result { try thread.join() } }
        return try results.map { try $0.get() }
    }

    /// Calls `body` with the merged tree of the layers.
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

    /// Content of the topmost layer's directory, with whiteouts and marks of overlay.
    var top: [String] {
        get throws { try LayersTests.outline(of: try Directory(opening: layers[layers.count - 1])) }
    }
}

/// A short text for each path of a tree: `d/`, `f=content`, `h==first name of its hard-link group`, `l->target`, `p|`,
/// `c(1:3)`, `hidden!` for a whiteout and `d/!` for an opaque directory.
func outline(of root: Directory) throws -> [String] {
    var lines = [(path: [UInt8], text: String)]()
    var names = [FileStatus.Identity: [[UInt8]]]()
    var found = [(path: [UInt8], directory: Directory, name: FileName, status: FileStatus)]()
    var pending: [(path: [UInt8], directory: Directory)] = [([], root)]
    while let (path, directory) = pending.popLast() {
        for name in try directory.names() {
            let child = path + name.bytes
            guard let status = try directory.status(of: name) else {
                lines.append((child, "\(escaped(child)) is listed, but missing"))
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

/// All orders of the elements.
func permutations<Element>(_ elements: [Element]) -> [[Element]] {
    guard elements.count > 1 else { return [elements] }
    return elements.indices.flatMap { index in
        var rest = elements
        let element = rest.remove(at: index)
        return permutations(rest).map { [element] + $0 }
    }
}

/// A row of a table: layers, and the merged tree that they must show.
struct Row: Sendable, CustomStringConvertible {
    let name: String
    /// The layers below, lowest first.
    let below: [[TarEntry]]
    let layer: [TarEntry]
    let shows: [String]
    /// Expected content of the topmost layer's directory; nil if it is not checked.
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

    /// Applies the layers in all variants and checks the results.
    func check(_ layer: [TarEntry]) throws {
        let order = layer.map(\.description).joined(separator: ", ")
        let plain = try Stack(below + [layer])
        let left = try plain.top
        #expect(leaves == nil || left == leaves, "\(name): \(order)")
        guard TestEnvironment.canMountOverlay else { return }
        let shown = try plain.outline
        #expect(shown == shows, "\(name): \(order)")
        let tree = try plain.tree
        let value = try ImageTree(below + [layer])
        #expect(
            value.lines { _, _ in "…" } == tree.lines.map(\.withoutDigest), "\(name), as a value: \(order)")
        for variant in Variant.supported {
            let other = try Stack(below + [layer], variant: variant)
            let otherTree = try other.tree
            #expect(otherTree == tree, "\(name), \(variant): \(order)")
            if variant.backend == .devices {
                let otherLeft = try other.top
                #expect(otherLeft == left, "\(name), \(variant): \(order)")
            }
        }
    }
}
