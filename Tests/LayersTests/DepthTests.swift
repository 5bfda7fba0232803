import Foundation
import Kernel
import Layers
import Layout
import OCI
import Streams
import SystemPackage
import TestSupport
import Testing

/// Maximum depth of directories in a layer.
private let deepest = 4096

private func path(_ depth: Int, _ name: String) -> Bytes {
    Bytes(String(repeating: "d/", count: depth) + name)
}

/// Runs on a thread with the stack of all threads of the program, 2 MiB.
private func onWorker<Value: Sendable>(_ body: @escaping @Sendable () throws -> Value) throws -> Value {
    try WorkerThread(body).join()
}

/// Two layers with files at a depth: the second layer hides, links, replaces and adds files there.
private func image(_ depth: Int) -> [[TarEntry]] {
    [
        [
            .file(path(depth, "gone"), "1"), .file(path(depth, "kept"), "1"),
            .directory(path(depth - 1, "d")).mode(0o711), .file(path(depth, "replaced"), "1"),
        ],
        [
            .file(path(depth, ".wh.gone")), .hardLink(path(depth, "link"), to: path(depth, "kept")),
            .file(path(depth, "replaced"), "2"), .file(path(depth, "new"), "2"),
        ],
    ]
}

/// All variants at a depth that a recursion with 1.4 KiB per level does not reach on a stack of 2 MiB, and one
/// variant at the maximum depth: Landlock walks up to the root for each directory that is opened, so that a layer
/// takes quadratic time in the kernel.
private let deepVariants = Variant.supported.map { variant in
    (variant, variant.description == Variant.plain.description ? deepest : 1600)
}

@Suite(
    "Deep layers",
    .enabled(
        if: TestEnvironment.canApplyLayers && TestEnvironment.canMountOverlay,
        "no directory that supports all metadata")
)
struct DeepLayerTests {
    @Test("Layers of the maximum depth need no more stack than a thread has", arguments: deepVariants)
    func stack(variant: Variant, depth: Int) throws {
        let names = try onWorker {
            let stack = try Stack(image(depth), variant: variant)
            return try stack.merged { root in
                var directory = root
                for _ in 0..<depth { directory = try directory.open(FileName(literal: "d")) }
                return try directory.names().map(\.description).sorted()
            }
        }
        #expect(names == ["kept", "link", "new", "replaced"])
    }

    @Test("A deep directory that a file replaces is dropped without recursion", arguments: deepVariants)
    func replaced(variant: Variant, depth: Int) throws {
        let outline = try onWorker {
            try Stack(
                [
                    [.file(path(depth, "f"), "1"), .file("d", "2")], [.file(path(depth, "f"), "1")],
                    [.file("d", "3")],
                ], variant: variant
            ).outline
        }
        #expect(outline == ["d=3"])
    }

    @Test(
        "The layer between deep trees is written with few descriptors and without recursion",
        arguments: [true, false])
    func made(walksOnlyAddedLayers: Bool) throws {
        let (size, descriptors) = try onWorker {
            let stack = try Stack(image(1600))
            let views = try (1...2).map { count in
                LowerView(try stack.layers.prefix(count).reversed().map { try Directory(opening: $0) })
            }
            var size = 0
            var descriptors = 0
            _ = try LayerWriter.write(
                from: views[0], to: views[1], as: .ociLayer(compression: nil),
                walksOnlyAddedLayers: walksOnlyAddedLayers,
                cancellation: Cancellation()
            ) { bytes in
                size += bytes.byteCount
                let open = try FileManager.default.contentsOfDirectory(atPath: "/proc/self/fd").count
                descriptors = max(descriptors, open)
            }
            return (size, descriptors)
        }
        // Each directory has an entry, and so has each of the four names.
        #expect(size > 1600 * 512)
        // Other tests run in parallel and have descriptors too.
        #expect(descriptors < 1600, "\(descriptors)")
    }

    @Test("A cancelled layer is not completed", arguments: [false, true])
    func cancelled(isWholeTree: Bool) throws {
        let temporary = try TemporaryDirectory(in: try #require(TestEnvironment.scratch))
        let builder = try ImageBuilder(at: temporary.path.appending("layout"))
        let manifest = try builder.image([LayerBuilder([.file(path(300, "f"), "1")])])
        let layout = try ImageLayout(opening: builder.path)
        let step = try #require(try layout.load(manifest).steps.first)
        let cancellation = Cancellation()
        let pipeline = LayerPipeline(layout, form: .device, budget: Budget(), cancellation: cancellation)
        let target = try Directory(opening: try temporary.makeDirectory("target"))
        // All entries are applied by then; only the directories are still to be completed.
        let stop: @Sendable () -> Void = { cancellation.cancel(signal: 15) }
        let failure = #expect(throws: LayerFailure.self) {
            if isWholeTree {
                _ = try pipeline.apply(step, into: target, onRead: stop)
            } else {
                _ = try pipeline.apply(step, to: target, over: Promise(LowerView([])), onRead: stop)
            }
        }
        guard case .cancelled(let cause) = failure?.cause else {
            Issue.record("\(String(describing: failure))")
            return
        }
        #expect(cause.reason == .signal(15))
    }

    @Test("An image whose paths take more steps than the limit is refused")
    func steps() throws {
        let temporary = try TemporaryDirectory(in: try #require(TestEnvironment.scratch))
        let builder = try ImageBuilder(at: temporary.path.appending("layout"))
        // A short path that resolves to a deep directory, and a symlink that is followed for every other entry.
        let entries =
            [.symlink("l", to: path(1000, "d"))]
            + (1...40).map { TarEntry.file(Bytes($0.isMultiple(of: 2) ? "l/\($0)" : "e/\($0)"), "1") }
        let manifest = try builder.image([LayerBuilder(entries)])
        let layout = try ImageLayout(opening: builder.path)
        let step = try #require(try layout.load(manifest).steps.first)
        func apply(_ steps: Int64, _ name: String) throws {
            let budget = Budget(Budget.Limits(steps: steps))
            let pipeline = LayerPipeline(layout, form: .device, budget: budget, cancellation: Cancellation())
            _ = try pipeline.apply(
                step, to: try Directory(opening: try temporary.makeDirectory(name)),
                over: Promise(LowerView([])))
        }
        try apply(400_000, "enough")
        let failure = #expect(throws: LayerFailure.self) { try apply(10_000, "few") }
        guard case .excess(.steps(limit: 10_000)) = failure?.cause else {
            Issue.record("\(String(describing: failure))")
            return
        }
        // Reading the tree without applying it has the same limit.
        #expect(throws: LayerFailure.self) {
            try ImageTree(reading: manifest, of: layout, limits: Budget.Limits(steps: 10_000))
        }
    }

    @Test("The limit of steps grows with the limit of entries")
    func limits() {
        #expect(Budget.Limits(entries: 3).steps == Budget.Limits.minimumSteps)
        #expect(Budget.Limits(entries: 1 << 40).steps == 1 << 44)
        #expect(Budget.Limits().steps == .max)
    }
}

@Suite("Deep trees as values")
struct DeepTreeTests {
    @Test("An image of the maximum depth is read, listed, compared, written and released without recursion")
    func values() throws {
        let (names, changes, size) = try onWorker {
            let old = try ImageTree([image(deepest)[0]], digests: true)
            let new = try ImageTree(image(deepest), digests: true)
            var names = 0
            var deepestItem = 0
            new.forEach { item in
                names += 1
                deepestItem = max(deepestItem, item.treePath.count)
            }
            #expect(deepestItem == deepest + 1)
            var changes = [String]()
            TreeChanges.compare(old, new, comparesTimes: false) {
                changes.append("\($0.kind) \($0.path.last.map(\.description) ?? "")")
            }
            guard
                case .found(let item) = new.resolve(
                    Array((String(repeating: "d/", count: deepest) + "new").utf8))
            else {
                return (0, [String](), 0)
            }
            #expect(new.lookUp(item.path) == item.id)
            var size = 0
            var output = ImageTarWriter.Output { size += $0.byteCount }
            let writer = ImageTarWriter(old)
            try writer.writeDirectories(to: &output, cancellation: Cancellation())
            try writer.writeRemaining(to: &output, cancellation: Cancellation())
            return (names, changes, size)
        }
        #expect(names == 1 + deepest + 4)
        #expect(changes == ["deleted gone", "modified kept", "added link", "added new", "modified replaced"])
        #expect(size > deepest * 512)
    }

    @Test("Paths share their upper components, and are equal however they were created")
    func paths() {
        var names = [FileName]()
        var path = TreePath()
        for depth in 0...200 {
            #expect(path == TreePath(names))
            #expect(path.hashValue == TreePath(names).hashValue)
            #expect(path.components == names)
            #expect(path.count == depth)
            #expect(path.last == names.last)
            let name = FileName(literal: "\(depth)")
            #expect(path.appending(name).parent == path)
            #expect(path != path.appending(name))
            path = path.appending(name)
            names.append(name)
        }
        #expect(TreePath().parent == TreePath())
        var other = names
        other[3] = FileName(literal: "x")
        #expect(TreePath(other) != path)
    }

    @Test("A document of the maximum depth is decoded on any thread")
    func documents() throws {
        let deep = String(repeating: #"{"a":"#, count: 98) + "1" + String(repeating: "}", count: 98)
        let text =
            #"{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":[]},"config":"# + deep
            + "}"
        _ = try onWorker { try ImageConfig(parsing: Array(text.utf8)).rootfs.type }
    }
}
