import Foundation
import Fuzzing
import Kernel
import Layers
import Layout
import Mounts
import OCI
import Streams
import SystemPackage
import TestSupport

/// Applies the input as a layer through the whole pipeline, into a directory in memory: over two layers, and over one
/// layer with the same tree. Both results must be equal, and everything outside and below must stay unchanged. What is
/// read into memory without a disk must be the same tree, or be refused as well.
@c(LLVMFuzzerTestOneInput) public func test(_ data: UnsafePointer<UInt8>?, _ size: Int) -> CInt {
    do {
        try Stage.shared.apply(Array(UnsafeBufferPointer(start: data, count: size)))
    } catch {
        // An error other than a rejection is a finding; libFuzzer detects it by the trap.
        fatalError("\(error)")
    }
    return 0
}

@c(LLVMFuzzerCustomMutator) public func mutate(
    _ data: UnsafeMutablePointer<UInt8>?, _ size: Int, _ maximum: Int, _ seed: UInt32
) -> Int { TarMutator.mutate(data, size, maximum, seed: seed, names: names) }

@c(LLVMFuzzerInitialize) public func initialize(
    _ count: UnsafeMutablePointer<CInt>?,
    _ arguments: UnsafeMutablePointer<UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>?>?
) -> CInt {
    Kernel.Process.setUp()
    writeSeeds(
        [
            LayerBuilder(
                .directory(""), .directory("d", mode: 0o1777), .file("d/f", "x").xattr("user.a", "b")),
            LayerBuilder(.file("l/new"), .file(".wh.l"), .file("d/.wh..wh..opq"), .directory("d/s")),
            LayerBuilder(.hardLink("h", to: "d/f").owned(1, 1), .hardLink("d/h", to: "h"), .file("d/.wh.f")),
            LayerBuilder(.symlink("d", to: "../../canary"), .file("d/f", "x"), .directory("d"), .fifo("d/f")),
            LayerBuilder(
                .file(".wh..wh.plnk/1.2", "x"), .hardLink("k", to: ".wh..wh.plnk/1.2"), .file(".wh.k")),
            LayerBuilder(
                .character("c", 0, 0), .block("d/b", 1, 1), .symlink("up", to: ".."), .file("up/up/f")),
        ].map(\.tar))
    return 0
}

private let folder = FilePath("/dev/shm/unpack-fuzz")

/// A few names, so that entries collide, including those of the lower layers and some that lead outside.
private let names: [Bytes] = [
    "a", "b", "d", "f", "l", "a/b", "a/a", "d/a", "d/f", "d/s", "d/s/f", "l/f", "l/s", "l/s/f", "h", "d/h",
    "out", "out/file", "out/directory", "out/directory/file", "loop", "loop/x",
    "..", "../d", "../../canary/file", ".", "/",
    ".wh.a", ".wh.d", "d/.wh.f", "d/.wh.s", "l/.wh.f", ".wh.l", ".wh..wh..opq", "d/.wh..wh..opq",
    "l/.wh..wh..opq", "out/.wh.file", "out/.wh..wh..opq", ".wh..wh.plnk/1", ".wh..wh.plnk", ".wh.", "a/.wh.b",
    Bytes("\(folder)/canary"), Bytes("\(folder)/canary/file"), "/d", "/l/f", "a/../d",
]

/// The lower layers, and a canary outside of them that `..` and links lead to.
private final class Stage: Sendable {
    static let shared: Stage = {
        do { return try Stage() } catch { fatalError("\(error)") }
    }()

    private static let lowest = LayerBuilder(
        .directory("a"), .file("a/a", "1"), .hardLink("a/b", to: "a/a"), .directory("d", mode: 0o2755),
        .file("d/f", "2").xattr("user.a", "b"), .directory("d/s"), .file("d/s/f", "3"),
        .symlink("l", to: "d"), .symlink("out", to: Bytes("\(folder)/canary")))
    private static let middle = LayerBuilder(
        .file("f", "4"), .symlink("loop", to: "loop"), .file("d/.wh..wh..opq"), .file("d/f", "5"),
        .hardLink("h", to: "a/a"), .file("a/.wh.b"))
    /// One layer with the tree of the other two.
    private static let both = LayerBuilder(
        .directory("a"), .file("a/a", "1"), .hardLink("h", to: "a/a"), .directory("d", mode: 0o2755),
        .file("d/f", "5"), .symlink("l", to: "d"), .symlink("out", to: Bytes("\(folder)/canary")),
        .file("f", "4"), .symlink("loop", to: "loop"))
    private static let stacks = [["middle", "lowest"], ["both"]]

    private let layout: ImageBuilder
    private static let layers = folder.appending("layers")
    private let before: [TreeDump]
    /// Files that do not belong to the layer.
    private let foreign: Set<FileStatus.Identity>

    private init() throws {
        let files = FileManager.default
        if files.fileExists(atPath: folder.string) {
            // The previous process may have been killed while a mount existed.
            try? MountPerformer.unmount(folder.appending("merged"))
            try Directory(opening: "/dev/shm").removeTree(FileName(literal: "unpack-fuzz"))
        }
        for path in ["canary/directory/below", "layers", "merged"] {
            try files.createDirectory(
                atPath: folder.appending(path).string, withIntermediateDirectories: true)
        }
        for path in ["canary/file", "canary/directory/file"] {
            try Data([1]).write(to: URL(fileURLWithPath: folder.appending(path).string))
        }
        layout = try ImageBuilder(at: folder.appending("layout"))
        try Self.apply(Self.lowest, .none, to: "lowest", over: [], layout)
        try Self.apply(Self.middle, .none, to: "middle", over: ["lowest"], layout)
        try Self.apply(Self.both, .none, to: "both", over: [], layout)
        if TestEnvironment.canMountOverlay {
            let shown = try Self.stacks.map { try Self.merged($0) }
            insist(shown[0] == shown[1], "\(shown.map(\.text)) below")
        }
        before = try Self.dumps()
        var foreign = Set<FileStatus.Identity>()
        try Self.visit(try Directory(opening: folder)) { foreign.insert($1.identity) }
        self.foreign = foreign
    }

    func apply(_ tar: [UInt8]) throws {
        let layer = LayerBuilder([], end: .nothing, trailer: tar)
        let packing = Packing.allCases[tar.count % Packing.allCases.count]
        let directory = try Directory(opening: Self.layers)
        var shown = [TreeDump?]()
        var refusals = [LayerFailure?]()
        for stack in Self.stacks {
            var isApplied = false
            var refusal: LayerFailure?
            do {
                try Self.apply(layer, packing, to: "top", over: stack, layout)
                isApplied = true
            } catch let failure as LayerFailure {
                Self.check(failure)
                refusal = failure
            }
            refusals.append(refusal)
            var largest: Int64 = 0
            try Self.visit(try directory.open(FileName(literal: "top"))) { name, status in
                insist(!foreign.contains(status.identity), "\(name) is a file from outside the layer")
                // Of all whiteout entries only overlay's own marks may remain.
                insist(!isApplied || !name.hasPrefix(".wh."), "a file named \(name)")
                largest = max(largest, status.size)
            }
            // A sparse file may be too large to read.
            let canShow = isApplied && TestEnvironment.canMountOverlay && largest < 1 << 20
            shown.append(canShow ? try Self.merged(["top"] + stack) : nil)
            try directory.removeTree(FileName(literal: "top"))
        }
        insist(shown[0] == shown[1], "the results differ: \(shown.map { $0?.text ?? "" })")
        try compare(shown[1], refusals[1], with: layer, packing)
        let after = try Self.dumps()
        insist(after == before, "changed: \(before.map(\.text)) to \(after.map(\.text))")
    }

    /// Compares the tree that is read into memory with the one on the disk.
    ///
    /// - Parameter shown: nil if the layer was refused, or cannot be shown.
    private func compare(
        _ shown: TreeDump?, _ refusal: LayerFailure?, with layer: LayerBuilder, _ packing: Packing
    ) throws {
        // The disk has limits of its own: the length of names, the space for attributes.
        if case .system? = refusal?.cause { return }
        let manifest = try layout.image([Self.both, layer], packing: packing)
        let source = try ImageLayout(opening: layout.path)
        let image = try source.load(manifest)
        defer {
            for blob in [manifest, image.manifest.config] + image.steps.map(\.descriptor) {
                try? layout.removeBlob(blob)
            }
        }
        do {
            let tree = try ImageTree(reading: manifest, of: source)
            insist(refusal == nil, "only the disk refuses the layer: \(refusal.map { "\($0)" } ?? "")")
            guard let shown else { return }
            let lines = tree.lines { _, _ in "…" }.map(\.withoutDigest)
            insist(
                lines == shown.lines.map(\.withoutDigest),
                "in memory: \(lines.joined(separator: "\n")), on the disk: \(shown.text)")
        } catch let failure as LayerFailure {
            insist(refusal != nil, "only the disk accepts the layer: \(failure)")
        }
    }

    private static func merged(_ stack: [String]) throws -> TreeDump {
        let paths = stack.map { layers.appending($0) }
        if paths.count == 1 { return try TreeDump(of: try Directory(opening: paths[0])) }
        let target = folder.appending("merged")
        try MountPerformer.perform(
            .overlay(lowers: paths, writable: nil, userAttributes: false, noIndex: false), form: .joined,
            folder: layers, on: target)
        let result = Result { try TreeDump(of: try Directory(opening: target)) }
        try MountPerformer.unmount(target)
        return try result.get()
    }

    private static func apply(
        _ layer: LayerBuilder, _ packing: Packing, to name: String, over lowers: [String],
        _ builder: ImageBuilder
    ) throws {
        let manifest = try builder.image([layer], packing: packing)
        let layout = try ImageLayout(opening: builder.path)
        let image = try layout.load(manifest)
        defer {
            for blob in [manifest, image.manifest.config, image.steps[0].descriptor] {
                try? builder.removeBlob(blob)
            }
        }
        let directory = try Directory(opening: Self.layers)
        try directory.makeDirectory(FileName(literal: name), mode: 0o700)
        let view = LowerView(try lowers.map { try directory.open(FileName(literal: $0)) })
        let pipeline = LayerPipeline(
            layout, form: .device, budget: Budget(), cancellation: Cancellation(),
            earlyFinalizationInterval: lowers.count == 1 ? 0 : LayerPipeline.defaultEarlyFinalizationInterval)
        let target = try directory.open(FileName(literal: name))
        // Over one layer as in a parallel unpack: the lower view is provided after the tar has been read.
        let below = Promise<LowerOutcome>()
        if lowers.count != 1 { below.fulfil(view) }
        let applying = try WorkerThread {
            defer { below.fulfil(view) }
            return try pipeline.apply(image.steps[0], to: target, over: below)
        }
        while !below.isAwaited, below.value == nil { Kernel.Process.sleep(milliseconds: 0) }
        below.fulfil(view)
        _ = try applying.join()
    }

    private static func dumps() throws -> [TreeDump] {
        try ["canary", "layers/lowest", "layers/middle", "layers/both"].map {
            try TreeDump(of: try Directory(opening: folder.appending($0)))
        }
    }

    /// Checks that a failure is a rejection. The image matches its documents, and the applier knows its own tree: a
    /// failure that contradicts this is a bug.
    private static func check(_ failure: LayerFailure) {
        switch failure.cause {
        case .archive, .refused, .compression, .excess: break
        case .bug(let reason): insist(false, reason)
        case .mismatch(let mismatch): insist(false, "\(mismatch)")
        case .system(let failure): insist(!contradictions.contains(failure.errno), "\(failure)")
        // No tar can cause these.
        case .blob, .wrongDiffID, .unsupported, .damagedImage, .cancelled: insist(false, "\(failure)")
        }
    }

    private static func visit(_ root: Directory, _ body: (FileName, FileStatus) -> Void) throws {
        var pending = [root]
        while let directory = pending.popLast() {
            for name in try directory.names() {
                guard let status = try directory.status(of: name) else { continue }
                body(name, status)
                if status.isDirectory { pending.append(try directory.open(name)) }
            }
        }
    }

    private static let contradictions: [Errno] = [
        .noSuchFileOrDirectory, .fileExists, .notDirectory, .isDirectory, .directoryNotEmpty,
        .tooManySymbolicLinkLevels, .badFileDescriptor, .tooManyOpenFiles,
    ]
}
