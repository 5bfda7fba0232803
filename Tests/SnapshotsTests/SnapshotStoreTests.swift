import Kernel
import Mounts
import OCI
import Snapshots
import SystemPackage
import TestSupport
import Testing

/// A store in a directory of the test. Opened again with another boot it is a store after a restart.
private struct Scratch {
    let temporary: TemporaryDirectory
    var root: FilePath { temporary.path.appending("store") }

    init() throws {
        Process.setUp()
        temporary = try TemporaryDirectory(in: try #require(TestEnvironment.scratch))
    }

    func open(boot: String = "first") throws -> SnapshotStore {
        try SnapshotStore(opening: root, snapshotter: "overlayfs", boot: boot, clock: { 42 })
    }

    var directories: Set<String> {
        get throws {
            let names = try Directory(opening: root.appending("overlayfs")).names().map(\.description)
            return Set(names)
        }
    }
}

private func chain(_ number: Int) -> ChainID {
    ChainID(OCI.Digest(.sha256, bytes: [UInt8](repeating: UInt8(number), count: 32)))
}

extension SnapshotStore {
    /// Makes a committed snapshot that is verified to hold a chain.
    @discardableResult
    fileprivate func make(_ number: Int, on parent: Int? = nil) throws -> String {
        let run = try startRun()
        let active = try prepareLayer("key-\(number)", parent: parent.map { chain($0).description }, in: run)
        try commit(active, as: chain(number), onto: nil, isRecorded: false, in: run)
        return chain(number).description
    }

    fileprivate func image(_ top: Int) -> ImageRecord {
        ImageRecord(
            names: ["image:\(top)"], manifest: chain(100 + top).digest, mediaType: .ociManifest,
            platform: .host, topChain: chain(top), layers: [])
    }
}

@Suite(.enabled(if: TestEnvironment.canApplyLayers, "needs root and a file system for layers"))
struct SnapshotStoreTests {
    @Test("A snapshot goes from active to committed under a new name, and keeps its directory")
    func lifecycle() throws {
        let scratch = try Scratch()
        let store = try scratch.open()
        try store.prepare("key", in: try store.startRun())
        let before = try store.stat("key")
        try store.commit("key", as: "name", isSynced: true)
        let after = try store.stat("name")
        #expect(after.kind == .committed)
        #expect(after.id == before.id)
        #expect(try scratch.directories == ["\(after.id)"])
    }

    @Test("Only a verified snapshot holds its chain, not a snapshot with the name of the chain")
    func verifiedIsNoName() throws {
        let scratch = try Scratch()
        let store = try scratch.open()
        try store.prepare("key", in: try store.startRun())
        try store.commit("key", as: chain(1).description, isSynced: false)
        #expect(try store.verified(chain(1)) == nil)
        #expect(try store.find(chain(1).description) != nil)
        #expect(kind { try store.make(1) } == .alreadyExists)
        #expect(try store.find("key-1") == nil)
    }

    @Test("An unfinished snapshot of a run is neither mounted nor committed nor removed by another caller")
    func unfinished() throws {
        let scratch = try Scratch()
        let store = try scratch.open()
        let run = try store.startRun()
        let layer = try store.prepareLayer("layer", parent: nil, in: run)
        #expect(kind { _ = try store.mounts(of: "layer") } == .unavailable)
        #expect(kind { try store.commit("layer", as: "mine", isSynced: false) } == .unavailable)
        #expect(kind { try store.remove("layer") } == .unavailable)
        try store.abandon(layer)
        #expect(try store.find("layer") == nil)
        #expect(try scratch.directories.isEmpty)
    }

    @Test("The root of a prepared snapshot has the metadata of its parent's root")
    func rootMetadata() throws {
        let scratch = try Scratch()
        let store = try scratch.open()
        let run = try store.startRun()
        let lower = try store.prepareLayer("lower", parent: nil, in: run)
        let comment = AttributeName(literal: "user.comment")
        try lower.directory.file.setOwner(uid: 3, gid: 4)
        try lower.directory.file.setExtendedAttribute(comment, [7])
        try lower.directory.file.setMode(0o1711)
        try lower.directory.file.setTimes(access: .epoch, modification: Timestamp(seconds: 5, nanoseconds: 6))
        try store.commit(lower, as: chain(1), onto: nil, isRecorded: false, in: run)
        let upper = try store.prepareLayer("upper", parent: chain(1).description, in: run)
        let status = try upper.directory.file.status()
        #expect(status.uid == 3 && status.gid == 4 && status.mode == 0o1711)
        #expect(status.modificationTime == Timestamp(seconds: 5, nanoseconds: 6))
        #expect(try upper.directory.file.extendedAttribute(comment) == [7])
        try store.abandon(upper)
    }

    @Test("Mounts: one layer is a bind, several an overlay topmost first, an active one has an upper")
    func mounts() throws {
        let scratch = try Scratch()
        let store = try scratch.open()
        try store.make(1)
        try store.make(2, on: 1)
        let folder = scratch.root.appending("overlayfs")
        let ids = try [1, 2].map { try store.stat(chain($0).description).id }
        let paths = ids.map { folder.appending("\($0)").appending("fs") }
        #expect(
            try store.readOnlyMounts(of: chain(1).description) == [.bind(source: paths[0], readOnly: true)])
        let two = try store.readOnlyMounts(of: chain(2).description)
        guard case .overlay([paths[1], paths[0]], nil, false, _)? = two.first, two.count == 1 else {
            Issue.record("\(two)")
            return
        }
        let active = try store.prepare("rw", parent: chain(1).description, in: try store.startRun())
        let own = folder.appending("\(try store.stat("rw").id)")
        let writable = Mount.Writable(upper: own.appending("fs"), work: own.appending("work"))
        guard case .overlay([paths[0]], writable, false, _)? = active.first, active.count == 1 else {
            Issue.record("\(active)")
            return
        }
    }

    @Test("Recovery removes what an ended run has left, and keeps users' and committed snapshots")
    func leftovers() throws {
        let scratch = try Scratch()
        do {
            let store = try scratch.open()
            try store.make(1)
            let run = try store.startRun()
            _ = try store.prepareLayer("left", parent: chain(1).description, in: run)
            try store.prepare("mine", parent: chain(1).description, in: run)
        }
        // A directory without a row: the result of a crash before the transaction was committed.
        _ = try Directory(opening: scratch.root.appending("overlayfs")).ensureDirectory("77")
        let store = try scratch.open()
        let run = try store.startRun()
        #expect(try store.find("left") == nil)
        #expect(try store.find("mine") != nil)
        #expect(try store.verified(chain(1)) != nil)
        let expected = try ["mine", chain(1).description].map { "\(try store.stat($0).id)" }
        #expect(try scratch.directories == Set(expected))
        let runs = try Directory(opening: scratch.root.appending("runs")).names().map(\.description)
        #expect(runs == [run.name])
    }

    @Test("Cleanup removes directories without a snapshot, and nothing else")
    func cleanup() throws {
        let scratch = try Scratch()
        let store = try scratch.open()
        try store.make(1)
        let own = try scratch.directories
        for name in ["77", ".removed-1"] {
            let folder = try Directory(opening: scratch.root.appending("overlayfs"))
            _ = try folder.ensureDirectory(name).ensureDirectory("full")
        }
        #expect(try scratch.directories.count == own.count + 2)
        try store.cleanup()
        #expect(try scratch.directories == own)
    }

    @Test("Recovery keeps the snapshots of a living run")
    func livingRun() throws {
        let scratch = try Scratch()
        let first = try scratch.open()
        let run = try first.startRun()
        _ = try first.prepareLayer("busy", parent: nil, in: run)
        let second = try scratch.open()
        _ = try second.startRun()
        #expect(try second.find("busy") != nil)
    }

    @Test("Only synced snapshots are trusted after a reboot, not those based on others")
    func otherBoot() throws {
        let scratch = try Scratch()
        let store = try scratch.open()
        try store.make(1)
        try store.record(store.image(1), nil, sync: true)
        try store.make(2, on: 1)
        try store.make(3, on: 2)
        try store.record(store.image(3), nil, sync: false)
        #expect(try store.images().count == 2)

        let restarted = try scratch.open(boot: "second")
        #expect(try restarted.verified(chain(1)) != nil)
        #expect(try restarted.verified(chain(2)) == nil)
        _ = try restarted.startRun()
        #expect(try restarted.images().map(\.topChain) == [chain(1)])
        #expect(try scratch.directories == ["\(try restarted.stat(chain(1).description).id)"])
        try restarted.make(2, on: 1)
        #expect(try restarted.verified(chain(2)) != nil)
    }

    @Test("A user's snapshot keeps its parents, also those that are not trusted any more")
    func otherBootUnderUser() throws {
        let scratch = try Scratch()
        let store = try scratch.open()
        try store.make(1)
        try store.prepare("mine", parent: chain(1).description, in: try store.startRun())
        let restarted = try scratch.open(boot: "second")
        _ = try restarted.startRun()
        #expect(try restarted.verified(chain(1)) == nil)
        #expect(try restarted.find("mine") != nil)
        #expect(try scratch.directories.count == 2)
        try restarted.make(1)
        #expect(try restarted.verified(chain(1)) != nil)
    }

    @Test("A synced commit makes the layers below it durable")
    func syncedCommit() throws {
        let scratch = try Scratch()
        let store = try scratch.open()
        try store.make(1)
        try store.prepare("mine", parent: chain(1).description, in: try store.startRun())
        try store.commit("mine", as: "kept", isSynced: true)
        try store.make(2, on: 1)
        let restarted = try scratch.open(boot: "second")
        _ = try restarted.startRun()
        #expect(try restarted.verified(chain(1)) != nil)
        #expect(try restarted.find("kept") != nil)
        #expect(try restarted.verified(chain(2)) == nil)
    }

    @Test("Names that differ by bytes and are equal strings are different snapshots")
    func equalStrings() throws {
        let scratch = try Scratch()
        let store = try scratch.open()
        let (composed, decomposed) = ("caf\u{E9}", "cafe\u{301}")
        let run = try store.startRun()
        for name in [composed, decomposed] {
            try store.prepare("base of \(name)", in: run)
            try store.commit("base of \(name)", as: name, isSynced: true)
        }
        try store.prepare("key", parent: composed, in: run)
        #expect(
            kind { try store.commit("key", as: "x", onto: decomposed, isSynced: true) } == .invalidArgument)
        let parent = try store.stat("key").parentID
        #expect(try parent == store.stat(composed).id)
        #expect(try parent != store.stat(decomposed).id)
        try store.commit("key", as: "x", onto: composed, isSynced: true)
    }

    @Test("Recording an image syncs the layers that an earlier image did not sync")
    func reuseSyncs() throws {
        let scratch = try Scratch()
        let store = try scratch.open()
        try store.make(1)
        try store.record(store.image(1), nil, sync: false)
        try store.make(2, on: 1)
        try store.record(store.image(2), nil, sync: true)
        let restarted = try scratch.open(boot: "second")
        #expect(try restarted.verified(chain(1)) != nil)
        #expect(try restarted.verified(chain(2)) != nil)
    }

    @Test("An image keeps its chain, and is recorded without changes")
    func images() throws {
        let scratch = try Scratch()
        let store = try scratch.open()
        try store.make(1)
        try store.record(store.image(1), nil, sync: true)
        try store.record(store.image(1), nil, sync: true)
        let (recorded, given) = (try store.images(), store.image(1))
        #expect(
            recorded.map { [$0.names.first, $0.manifest.description, $0.topChain.description] } == [
                [given.names.first, given.manifest.description, given.topChain.description]
            ])
        #expect(recorded.allSatisfy { $0.created != nil && $0.used == $0.created })
        #expect(kind { try store.remove(chain(1).description) } == .failedPrecondition)
    }

    @Test("Only one caller at a time locks a chain, also within one process")
    func chainLocks() throws {
        let scratch = try Scratch()
        let store = try scratch.open()
        let other = try scratch.open()
        var lock = try store.tryLock(chain(1))
        #expect(lock != nil)
        #expect(try other.tryLock(chain(1)) == nil)
        #expect(try other.tryLock(chain(2)) != nil)
        lock = nil
        #expect(try other.tryLock(chain(1)) != nil)
    }
}
