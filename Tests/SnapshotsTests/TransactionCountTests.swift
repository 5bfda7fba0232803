import Kernel
import OCI
import Snapshots
import SystemPackage
import TestSupport
import Testing

/// The number of database transactions of calls that containerd makes for each container and layer.
@Suite(
    "Transactions of a call",
    .enabled(if: TestEnvironment.canApplyLayers, "needs root and a place for layers"))
struct TransactionCountTests {
    private let scratch: TemporaryDirectory
    private let store: SnapshotStore
    private let run: Run
    private let service: ServiceSnapshots

    init() throws {
        Process.setUp()
        scratch = try TemporaryDirectory(in: try #require(TestEnvironment.scratch))
        store = try SnapshotStore(
            opening: scratch.path.appending("store"), snapshotter: "overlayfs", boot: "first", clock: { 42 })
        // The server probes the file system when it starts.
        _ = try store.whiteoutForm()
        run = try store.startRun()
        service = try ServiceSnapshots("unpack", of: store, in: run)
    }

    private func chain(_ number: Int) -> ChainID {
        ChainID(OCI.Digest(.sha256, bytes: [UInt8](repeating: UInt8(number), count: 32)))
    }

    private func addLayer(_ number: Int) throws -> String {
        let parent = number == 1 ? nil : chain(number - 1).description
        let layer = try store.prepareLayer("layer-\(number)", parent: parent, in: run)
        try store.commit(layer, as: chain(number), onto: nil, isRecorded: false, in: run)
        return chain(number).description
    }

    /// Runs a call.
    ///
    /// - Returns: the number of its transactions, and the kind of its failure.
    private func count(_ call: () throws -> Void) -> (transactions: Int, failure: StoreFailure.Kind?) {
        let before = store.transactionCount
        let failure = kind(call)
        return (store.transactionCount - before, failure)
    }

    private func prepare(_ key: String, on parent: String?, chain: ChainID? = nil) -> (
        Int, StoreFailure.Kind?
    ) {
        var labels = ["a": "b"]
        labels["containerd.io/snapshot.ref"] = chain?.description
        return count { _ = try service.prepare(key, parent: parent, labels: labels) }
    }

    @Test("Prepare and View of a service take two transactions")
    func made() throws {
        _ = try service.prepare("base-active", parent: nil, labels: [:])
        try service.commit("base-active", as: "base", onto: nil, labels: [:])
        let layer = try addLayer(1)
        #expect(prepare("extract", on: nil, chain: chain(1)).1 == .alreadyExists)
        for (number, parent) in [nil, "base", layer].enumerated() {
            #expect(prepare("plain-\(number)", on: parent) == (2, nil))
            #expect(prepare("labelled-\(number)", on: parent, chain: chain(9)) == (2, nil))
            let view = count { _ = try service.view("view-\(number)", parent: parent, labels: [:]) }
            #expect(view == (2, nil))
        }
    }

    @Test("Prepare takes two transactions to adopt a layer and make it durable, and one to adopt nothing")
    func adopted() throws {
        let layer = try addLayer(1)
        _ = try addLayer(2)
        #expect(prepare("extract-1", on: nil, chain: chain(1)) == (2, .alreadyExists))
        #expect(prepare("extract-2", on: layer, chain: chain(2)) == (2, .alreadyExists))
        #expect(prepare("extract-2", on: "none", chain: chain(2)) == (1, .notFound))
        #expect(prepare("a", on: nil) == (2, nil))
        #expect(prepare("a", on: nil) == (1, .alreadyExists))
    }

    @Test("The mounts that Prepare and View return without a query are those of the rows")
    func sameMounts() throws {
        let first = try addLayer(1)
        let second = try addLayer(2)
        for (number, parent) in [nil, first, second].enumerated() {
            let active = try store.prepare("active-\(number)", parent: parent, in: run)
            #expect(try store.mounts(of: "active-\(number)") == active)
            let view = try store.view("view-\(number)", parent: parent, in: run)
            #expect(try store.mounts(of: "view-\(number)") == view)
        }
    }
}
