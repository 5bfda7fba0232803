import Kernel
import Layers
import Layout
import Streams
import SystemPackage
import TestSupport
import Testing

@Suite("Budgets", .enabled(if: Ability.canApplyLayers, "no place for device nodes and trusted attributes"))
struct BudgetTests {
    private static let memory: Int64 = 50_000

    private let temporary: TemporaryDirectory
    private let builder: ImageBuilder
    private let budget = Budget(Budget.Limits(memory: memory))

    init() throws {
        temporary = try TemporaryDirectory(in: try #require(Ability.scratch))
        builder = try ImageBuilder(at: temporary.path.appending("layout"))
    }

    private func apply(_ entries: [TarEntry], to name: String, over lower: [Directory] = []) throws {
        let layout = try ImageLayout(opening: builder.path)
        let step = try #require(try layout.load(try builder.image([LayerBuilder(entries)])).steps.first)
        let pipeline = LayerPipeline(
            layout, form: .device, budget: budget, cancellation: Cancellation(), settlingInterval: 10)
        _ = try pipeline.apply(
            step, to: try Directory(opening: try temporary.makeDirectory(name)),
            over: Promise(LowerView(lower)))
    }

    private func paths(_ count: Int, _ path: (Int) -> String) -> [Bytes] {
        (1...count).map { Bytes(path($0)) }
    }

    @Test("More whiteouts than can be remembered are refused")
    func whiteouts() throws {
        let few = paths(300) { ".wh.x\($0)" }.map { TarEntry.file($0) }
        let many = paths(1000) { ".wh.x\($0)" }.map { TarEntry.file($0) }
        let failure = #expect(throws: LayerFailure.self) { try apply(many, to: "many") }
        guard case .excess(.memory(limit: Self.memory)) = failure?.cause else {
            Issue.record("\(String(describing: failure))")
            return
        }
        // What a layer remembers is free again at its end, however it ends.
        for name in ["a", "b", "c"] { try apply(few, to: name) }
        // A name counts once.
        try apply(few + few + few + few, to: "d")
    }

    @Test("Directories are no reason to refuse a layer, listed or not, in any order")
    func directories() throws {
        let lists = paths(2000) { "d\($0 % 40)/e\($0)" }
        try apply(lists.map { .directory($0) }, to: "listed")
        try apply(paths(2000) { "d\($0 % 40)/e\($0)/f" }.map { .file($0) }, to: "implicit")
        let long = Bytes(String(repeating: "x", count: 3000))
        try apply(paths(200) { "d\($0)" }.map { .directory($0).xattr("user.long", long) }, to: "attributes")
        // Removed again, they take nothing either.
        try apply(paths(2000) { "d\($0 / 2)" }.flatMap { [.directory($0), .file($0)] }, to: "replaced")
    }

    @Test("Directories of the layers below that no entry lists are remembered, and have a limit")
    func merged() throws {
        let files = paths(1000) { "d\($0)/f" }.map { TarEntry.file($0) }
        try apply(files, to: "lower")
        let lower = try Directory(opening: temporary.path.appending("lower"))
        #expect(throws: LayerFailure.self) { try apply(files, to: "upper", over: [lower]) }
        try apply(Array(files.prefix(100)), to: "less", over: [lower])
    }
}
