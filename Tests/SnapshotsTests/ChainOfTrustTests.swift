import Foundation
import Kernel
import Mounts
import OCI
import Snapshots
import SystemPackage
import TestSupport
import Testing

/// The chain of trust under random calls: two namespaces of one service, another service, the unpacker, and reboots
/// with and without a power cut, on one store.
///
/// **Invariant** (`docs/threat-model.md`): the unpacker has written the snapshot that a client sees under a chain ID,
/// for that chain, and no client has written to it since. The unpacker writes a file with the chain ID; clients write
/// another file into every writable directory that they get. After each call the test compares these files with every
/// client's view.
///
/// `UNPACK_TRUST_SEEDS=100` tries more seeds, `UNPACK_TRUST_SEED=7` one of them.
@Suite(
    "The chain of trust", .enabled(if: TestEnvironment.canApplyLayers, "needs root and a place for layers"))
struct ChainOfTrustTests {
    private static let seeds: [UInt64] = {
        let environment = ProcessInfo.processInfo.environment
        if let seed = environment["UNPACK_TRUST_SEED"].flatMap(UInt64.init) { return [seed] }
        return Array(1...(environment["UNPACK_TRUST_SEEDS"].flatMap(UInt64.init) ?? 2))
    }()

    @Test("Under a chain clients see the verified content, after any calls", arguments: seeds)
    func randomCalls(seed: UInt64) throws {
        var world = try World(seed: seed)
        for step in 0..<1000 {
            let call = try world.step()
            let wrong = try world.violations()
            #expect(wrong.isEmpty, "seed \(seed), step \(step): \(call)")
            if !wrong.isEmpty { return }
        }
        // Without adoptions the run has tested nothing.
        #expect(world.adoptions > 10 && world.impostors > 10, "\(world.adoptions), \(world.impostors)")
    }
}

/// The generator of Numerical Recipes: the same calls for the same seed.
private struct SeededGenerator: RandomNumberGenerator {
    var state: UInt64

    mutating func next() -> UInt64 {
        state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
        return state ^ state >> 29
    }
}

private struct World {
    /// Layers of images, each on the one before: chain N is on chain N - 1.
    private static let chains = 1...4
    private static let label = "containerd.io/snapshot.ref"
    private static let proof = FileName(literal: "proof")

    private let scratch: TemporaryDirectory
    private var random: SeededGenerator
    private var boot = 0
    private var store: SnapshotStore
    private var run: Run
    private var services: [ServiceSnapshots]
    private(set) var adoptions = 0
    /// The number of snapshots that clients have made with the label of a chain.
    private(set) var impostors = 0

    init(seed: UInt64) throws {
        Process.setUp()
        scratch = try TemporaryDirectory(in: try #require(TestEnvironment.scratch))
        random = SeededGenerator(state: seed)
        store = try Self.open(scratch.path, boot: 0)
        run = try store.startRun()
        services = []
        try serve()
    }

    private static func open(_ path: FilePath, boot: Int) throws -> SnapshotStore {
        try SnapshotStore(
            opening: path.appending("store"), snapshotter: "overlayfs", boot: "boot-\(boot)", clock: { 42 })
    }

    private mutating func serve() throws {
        services = try ["unpack", "other"].map { try ServiceSnapshots($0, of: store, in: run) }
    }

    private func chain(_ number: Int) -> ChainID {
        ChainID(OCI.Digest(.sha256, bytes: [UInt8](repeating: UInt8(number), count: 32)))
    }

    private func image(_ top: Int) -> ImageRecord {
        ImageRecord(
            names: [], manifest: chain(100 + top).digest, mediaType: .ociManifest, platform: .host,
            topChain: chain(top), layers: [])
    }

    private mutating func pick<Value>(_ values: [Value]) -> Value {
        values[Int.random(in: 0..<values.count, using: &random)]
    }

    /// A key in the form of containerd, one that resembles a chain, or the name of a chain.
    private mutating func key() -> String {
        let chain = chain(Int.random(in: Self.chains, using: &random)).description
        return pick([
            "default/1/a", "k8s/2/b", "k", chain, "default/3/\(chain)", "unpack:\(chain)", "other:\(chain)",
        ])
    }

    private mutating func labels() -> [String: String] {
        let chain = chain(Int.random(in: Self.chains, using: &random)).description
        return pick([
            [:], ["a": "b"], [Self.label: chain], [Self.label: chain, "a": "b"], [Self.label: "none"],
        ])
    }

    private mutating func existing(_ service: ServiceSnapshots) throws -> String {
        let names = try service.list([]).map(\.name)
        return names.isEmpty ? key() : pick(names)
    }

    /// Makes one call.
    ///
    /// - Returns: the call and its result.
    mutating func step() throws -> String {
        let service = pick(services)
        let who = service.owner.rawValue
        switch Int.random(in: 0..<100, using: &random) {
        case 0..<20:
            let (key, labels) = (key(), labels())
            let parent = pick([nil, try existing(service)])
            let result = Result { try service.prepare(key, parent: parent, labels: labels) }
            if case .success(let mounts) = result {
                if labels[Self.label] != nil { impostors += 1 }
                try write(to: mounts)
            }
            return "\(who) prepare \(key) on \(parent ?? "-") \(labels): \(result)"
        case 20..<45:
            // As containerd prepares a layer.
            let number = Int.random(in: Self.chains, using: &random)
            let parent = number == 1 ? nil : chain(number - 1).description
            let key = "extract-\(number)"
            let result = Result {
                try service.prepare(key, parent: parent, labels: [Self.label: chain(number).description])
            }
            switch result {
            case .success(let mounts):
                impostors += 1
                try write(to: mounts)
            case .failure(let failure as StoreFailure) where failure.kind == .alreadyExists:
                if failure.description.hasPrefix("the layer is there") { adoptions += 1 }
            case .failure: break
            }
            return "\(who) extract \(number): \(result)"
        case 45..<55:
            let (active, name, labels) = (try existing(service), key(), labels())
            let result = Result { try service.commit(active, as: name, onto: nil, labels: labels) }
            return "\(who) commit \(active) as \(name) \(labels): \(result)"
        case 55..<60:
            let (key, parent) = (key(), try existing(service))
            return
                "\(who) view \(key) on \(parent): \(Result { try service.view(key, parent: parent, labels: [:]) })"
        case 60..<68:
            let (name, labels) = (try existing(service), labels())
            let fields = pick([[], ["labels"], ["labels.a"], ["labels.\(Self.label)"]])
            let result = Result { try service.update(name, labels: labels, fields: fields) }
            return "\(who) update \(name) \(labels) \(fields): \(result)"
        case 68..<80:
            let name = try existing(service)
            return "\(who) remove \(name): \(Result { try service.remove(name, .complete) })"
        case 80..<92:
            let top = Int.random(in: Self.chains, using: &random)
            let isSynced = Bool.random(using: &random)
            return
                "unpack image \(top), synced \(isSynced): \(Result { try unpack(top, isSynced: isSynced) })"
        case 92..<96:
            let top = Int.random(in: Self.chains, using: &random)
            return
                "rm image \(top): \(Result { try store.remove(image(top)) }), \(Result { try store.prune(in: run) })"
        default:
            boot += Int.random(in: 0...1, using: &random)
            try store.release(run)
            store = try Self.open(scratch.path, boot: boot)
            run = try store.startRun()
            try serve()
            return "restart in boot \(boot)"
        }
    }

    /// Unpacks as the unpacker does: uses verified layers, and makes and commits the missing ones.
    private func unpack(_ top: Int, isSynced: Bool) throws {
        for number in 1...top where try store.verified(chain(number)) == nil {
            let layer = try store.prepareLayer("unpack/\(number)", parent: nil, in: run)
            try layer.directory.put(Self.proof, chain(number).description)
            let parent = number == 1 ? nil : chain(number - 1).description
            try store.commit(layer, as: chain(number), onto: parent, isRecorded: false, in: run)
        }
        try store.record(image(top), nil, sync: isSynced)
        try store.release(run)
    }

    /// Writes into all writable mounts, as a hostile client does.
    private func write(to mounts: [Mount]) throws {
        for mount in mounts {
            let directory: FilePath? =
                switch mount {
                case .bind(let source, readOnly: false): source
                case .overlay(_, let writable, _, _): writable?.upper
                default: nil
                }
            guard let directory else { continue }
            try "#!EVIL".write(
                toFile: directory.appending("proof").string, atomically: false, encoding: .utf8)
        }
    }

    /// Differences between the content that the unpacker has written and the views of clients, by name and by label.
    func violations() throws -> [String] {
        try services.flatMap { service in
            let all = try service.list([])
            var wrong = Dictionary(grouping: all, by: \.name).filter { $1.count > 1 }.map {
                "two are called \($0.key)"
            }
            for info in all {
                if let label = info.labels[Self.label] {
                    let found = try content(of: info)
                    if found != label { wrong.append("\(info.name) is labelled \(label) and holds \(found)") }
                    if info.verifiedChain?.description != label {
                        wrong.append("\(info.name) is not verified")
                    }
                }
                // A snapshot of the service may have the name; then no layer was adopted.
                if info.owner == .images, try content(of: info) != info.name {
                    wrong.append("\(info.name) was adopted and holds \(try content(of: info))")
                }
            }
            return wrong.map { "\(service.owner.rawValue): \($0)" }
        }
    }

    private func content(of info: SnapshotInfo) throws -> String {
        let path = store.path(of: info).appending("proof").string
        return try String(contentsOfFile: path, encoding: .utf8)
    }
}
