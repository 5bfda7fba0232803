import Compression
import Kernel
import Layers
import Layout
import OCI
import Streams
import SystemPackage
import TestSupport
import Testing

@Suite("Budgets", .enabled(if: TestEnvironment.canApplyLayers, "no directory that supports all metadata"))
struct BudgetTests {
    private static let memory: Int64 = 50_000

    private let temporary: TemporaryDirectory
    private let builder: ImageBuilder
    private let budget = Budget(Budget.Limits(memory: memory))

    init() throws {
        temporary = try TemporaryDirectory(in: try #require(TestEnvironment.scratch))
        builder = try ImageBuilder(at: temporary.path.appending("layout"))
    }

    private func apply(_ entries: [TarEntry], to name: String, over lower: [Directory] = []) throws {
        let layout = try ImageLayout(opening: builder.path)
        let step = try #require(try layout.load(try builder.image([LayerBuilder(entries)])).steps.first)
        let pipeline = LayerPipeline(
            layout, form: .device, budget: budget, cancellation: Cancellation(), earlyFinalizationInterval: 10
        )
        _ = try pipeline.apply(
            step, to: try Directory(opening: try temporary.makeDirectory(name)),
            over: Promise(LowerView(lower)))
    }

    private func paths(_ count: Int, _ path: (Int) -> String) -> [Bytes] {
        (1...count).map { Bytes(path($0)) }
    }

    @Test("More whiteouts than the memory limit allows are refused")
    func whiteouts() throws {
        let few = paths(300) { ".wh.x\($0)" }.map { TarEntry.file($0) }
        let many = paths(1000) { ".wh.x\($0)" }.map { TarEntry.file($0) }
        let failure = #expect(throws: LayerFailure.self) { try apply(many, to: "many") }
        guard case .excess(.memory(limit: Self.memory)) = failure?.cause else {
            Issue.record("\(String(describing: failure))")
            return
        }
        // The memory of a layer is free again at its end, also after a failure.
        for name in ["a", "b", "c"] { try apply(few, to: name) }
        // A name counts once.
        try apply(few + few + few + few, to: "d")
    }

    @Test("Any number of directories is accepted, listed or not, in any order")
    func directories() throws {
        let lists = paths(2000) { "d\($0 % 40)/e\($0)" }
        try apply(lists.map { .directory($0) }, to: "listed")
        try apply(paths(2000) { "d\($0 % 40)/e\($0)/f" }.map { .file($0) }, to: "implicit")
        let long = Bytes(String(repeating: "x", count: 3000))
        try apply(paths(200) { "d\($0)" }.map { .directory($0).xattr("user.long", long) }, to: "attributes")
        // Removed directories take no memory either.
        try apply(paths(2000) { "d\($0 / 2)" }.flatMap { [.directory($0), .file($0)] }, to: "replaced")
    }

    @Test("Implicit directories that the layers below have count against the memory limit")
    func merged() throws {
        let files = paths(1000) { "d\($0)/f" }.map { TarEntry.file($0) }
        try apply(files, to: "lower")
        let lower = try Directory(opening: temporary.path.appending("lower"))
        #expect(throws: LayerFailure.self) { try apply(files, to: "upper", over: [lower]) }
        try apply(Array(files.prefix(100)), to: "less", over: [lower])
    }

    /// Applies a layer while the layers below are not known, and provides them when it waits for them.
    ///
    /// - Returns: whether the layer was read to its end by then.
    private func applyEarly(
        _ manifest: Descriptor, through pipeline: LayerPipeline, to name: String
    ) throws -> Bool {
        let step = try #require(try ImageLayout(opening: builder.path).load(manifest).steps.first)
        let directory = try Directory(opening: try temporary.makeDirectory(name))
        let below = Promise<LowerOutcome>()
        let isRead = Promise<Bool>()
        let isDone = Promise<Bool>()
        let thread = try WorkerThread {
            defer { isDone.fulfil(true) }
            return try pipeline.apply(step, to: directory, over: below, onRead: { isRead.fulfil(true) })
        }
        while !below.isAwaited, isDone.value == nil { Process.sleep(milliseconds: 1) }
        let wasRead = isRead.value ?? false
        below.fulfil(LowerView([]))
        _ = try thread.join()
        return wasRead
    }

    @Test(
        "Above the shared memory limit, layers that are not the lowest wait",
        arguments: [true, false])
    func crowded(exceedsLimit: Bool) throws {
        let shared: Int64 = exceedsLimit ? 10_000 : 1 << 20
        let pipeline = LayerPipeline(
            try ImageLayout(opening: builder.path), form: .device, budget: Budget(sharedMemory: shared),
            cancellation: Cancellation())
        let image = try builder.image([LayerBuilder(paths(100) { "d\($0)" }.map { .directory($0) })])
        #expect(try applyEarly(image, through: pipeline, to: "layer") == !exceedsLimit)
    }

    /// A tar as a zstd frame of uncompressed blocks with a window of 1 KiB · 2^exponent (RFC 8878, section 3.1.1).
    private func frame(_ tar: [UInt8], windowExponent exponent: UInt8) -> [UInt8] {
        var frame: [UInt8] = [0x28, 0xB5, 0x2F, 0xFD, 0, exponent << 3]
        var rest = tar[...]
        while !rest.isEmpty {
            let block = rest.prefix(1024)
            rest = rest.dropFirst(1024)
            let header = block.count << 3 | (rest.isEmpty ? 1 : 0)
            frame += [UInt8(header & 0xFF), UInt8(header >> 8 & 0xFF), UInt8(header >> 16)] + block
        }
        return frame
    }

    private func image(windowExponent: UInt8) throws -> Descriptor {
        let layer = LayerBuilder(.file("f", Bytes.noise(10_000)))
        let config = try builder.config(.host, [layer.diffID])
        let blob = try builder.blob(frame(layer.tar, windowExponent: windowExponent), Packing.zstd.mediaType)
        return try builder.manifest(config, [blob])
    }

    @Test(
        "A layer that needs a larger window than its share waits until it is the lowest",
        arguments: [(1, 17), (2, 14), (2, 15), (8, 12), (8, 13)] as [(Int, UInt8)])
    func windows(parallelLayers: Int, exponent: UInt8) throws {
        let pipeline = LayerPipeline(
            try ImageLayout(opening: builder.path), form: .device, budget: budget,
            cancellation: Cancellation(),
            parallelLayers: parallelLayers)
        let fits = parallelLayers == 1 || (1 << (10 + exponent)) * parallelLayers <= 32 << 20
        #expect(
            try applyEarly(try image(windowExponent: exponent), through: pipeline, to: "layer") == fits)
    }

    @Test("A window above the maximum is reported as such", arguments: [1, 2])
    func tooLargeWindow(parallelLayers: Int) throws {
        let pipeline = LayerPipeline(
            try ImageLayout(opening: builder.path), form: .device, budget: budget,
            cancellation: Cancellation(),
            parallelLayers: parallelLayers)
        let image = try image(windowExponent: 18)
        let failure = #expect(throws: LayerFailure.self) {
            try applyEarly(image, through: pipeline, to: "layer")
        }
        guard case .compression(.windowTooLarge(limit: 1 << 27)) = failure?.cause else {
            Issue.record("\(String(describing: failure))")
            return
        }
    }
}
