import Kernel
import Mounts
import OCI
import Snapshots
import SystemPackage
import TestSupport
import Testing

@Suite(
    "Services' views of a store",
    .enabled(if: TestEnvironment.canApplyLayers, "needs root and a place for layers"))
struct ServiceSnapshotsTests {
    /// A store for an image of two layers, and a service on it.
    private struct Scene {
        let scratch: TemporaryDirectory
        let store: SnapshotStore
        let run: Run
        let service: ServiceSnapshots
        var folder: FilePath { scratch.path.appending("store/overlayfs") }

        init() throws {
            Process.setUp()
            scratch = try TemporaryDirectory(in: try #require(TestEnvironment.scratch))
            store = try SnapshotStore(
                opening: scratch.path.appending("store"), snapshotter: "overlayfs", boot: "first",
                clock: { 42 })
            run = try store.startRun()
            service = try ServiceSnapshots("unpack", of: store, in: run)
        }

        func addImage(synced: Bool = true) throws {
            for number in 1...2 {
                let parent = number == 1 ? nil : chain(number - 1).description
                let layer = try store.prepareLayer("layer-\(number)", parent: parent, in: run)
                try layer.directory.put(FileName(literal: "file-\(number)"), "\(number)\n")
                try store.commit(layer, as: chain(number), onto: nil, isRecorded: false, in: run)
            }
            try store.record(image, nil, sync: synced)
            try store.release(run)
        }

        let image = ImageRecord(
            names: ["image"], manifest: chain(100).digest, mediaType: .ociManifest, platform: .host,
            topChain: chain(2), layers: [])

        /// Prepares a snapshot as containerd does for a layer that it is going to unpack.
        func prepare(_ number: Int, on parent: String?) -> StoreFailure.Kind? {
            kind {
                _ = try service.prepare(
                    "extract-\(number)", parent: parent,
                    labels: ["containerd.io/snapshot.ref": chain(number).description])
            }
        }

        func names(_ filters: String...) throws -> [String] {
            try service.list(try filters.map(SnapshotFilter.init(parsing:))).map(\.name)
        }

        /// A column of all committed snapshots, oldest first; NULL is nil.
        func column(_ name: String) throws -> [String?] {
            let text = try Command.run(
                "sqlite3", "-nullvalue", "-", scratch.path.appending("store/metadata.db").string,
                "SELECT \(name) FROM snapshot WHERE kind = 'committed' ORDER BY id"
            ).succeed().text
            return text.split(separator: "\n").map { $0 == "-" ? nil : String($0) }
        }

        func exists(_ info: SnapshotInfo) throws -> Bool { try folder.appending("\(info.id)").exists() }
    }

    private static func chain(_ number: Int) -> ChainID {
        ChainID(OCI.Digest(.sha256, bytes: [UInt8](repeating: UInt8(number), count: 32)))
    }

    @Test("Two services and the store do not see each other's keys")
    func separate() throws {
        let scene = try Scene()
        let other = try ServiceSnapshots("other", of: scene.store, in: scene.run)
        try scene.store.prepare("default/1/a", in: scene.run)
        for service in [scene.service, other] {
            #expect(kind { _ = try service.stat("default/1/a") } == .notFound)
            _ = try service.prepare("default/1/a", parent: nil, labels: ["k": service.owner.rawValue])
            #expect(
                kind { _ = try service.prepare("default/1/a", parent: nil, labels: [:]) } == .alreadyExists)
        }
        try other.remove("default/1/a", .complete)
        let info = try scene.service.stat("default/1/a")
        #expect(info.name == "default/1/a" && info.labels == ["k": "unpack"])
        #expect(try scene.names() == ["default/1/a"])
        #expect(try scene.store.stat("unpack:default/1/a").owner == Owner(rawValue: "unpack"))
        #expect(try scene.store.stat("default/1/a").owner == .user)
    }

    @Test(
        "Service names that other snapshots' names could begin with are refused",
        arguments: ["", "images", "user", "sha256", "a:b", "a b", "ä", "a/b"])
    func names(name: String) throws {
        let scene = try Scene()
        #expect(kind { _ = try ServiceSnapshots(name, of: scene.store, in: scene.run) } == .invalidArgument)
    }

    @Test("The contract holds under a service's keys: parents, commits, filters, labels, removals")
    func contract() throws {
        let scene = try Scene()
        let service = scene.service
        #expect(kind { _ = try service.prepare("", parent: nil, labels: [:]) } == .invalidArgument)
        #expect(kind { _ = try service.prepare("a", parent: "none", labels: [:]) } == .notFound)
        let mounts = try service.prepare("a", parent: nil, labels: ["l": "1"])
        #expect(try service.mounts(of: "a") == mounts)
        #expect(kind { _ = try service.prepare("b", parent: "a", labels: [:]) } == .invalidArgument)
        #expect(kind { try service.commit("none", as: "a", onto: nil, labels: [:]) } == .notFound)
        #expect(kind { try service.commit("a", as: "a", onto: nil, labels: [:]) } == .alreadyExists)
        try service.commit("a", as: "base", onto: nil, labels: ["l": "2"])
        #expect(kind { _ = try service.stat("a") } == .notFound)
        _ = try service.view("v", parent: "base", labels: [:])
        #expect(try service.usage(of: "v") == .none)
        #expect(kind { try service.commit("v", as: "x", onto: nil, labels: [:]) } == .failedPrecondition)
        _ = try service.prepare("rw", parent: nil, labels: [:])
        #expect(kind { try service.commit("rw", as: "top", onto: "none", labels: [:]) } == .notFound)
        try service.commit("rw", as: "top", onto: "base", labels: [:])
        #expect(try service.stat("top").parent == "base")
        #expect(try scene.names("parent==base") == ["v", "top"])
        #expect(try scene.names("name==top", "labels.l==2") == ["base", "top"])
        #expect(kind { try service.remove("base", .complete) } == .failedPrecondition)
        let updated = try service.update("top", labels: ["a": "b"], fields: ["labels.a"])
        #expect(updated.labels == ["a": "b"] && updated.name == "top" && updated.parent == "base")
        for key in ["v", "top", "base"] { try service.remove(key, .complete) }
        #expect(try scene.names().isEmpty)
        #expect(try scene.store.find("unpack:base") == nil)
    }

    @Test("A fast commit is measured and durable once it is completed")
    func completed() throws {
        let scene = try Scene()
        _ = try scene.service.prepare("a", parent: nil, labels: [:])
        try scene.service.commit("a", as: "base", onto: nil, labels: [:])
        #expect(try scene.column("boot") == ["first"] && scene.column("size") == [nil])
        try scene.service.completeCommit(of: "base")
        #expect(try scene.column("boot") == [nil] && scene.column("size") != [nil])
        try scene.service.completeCommit(of: "gone")
    }

    @Test("After a reboot the service lists the snapshots that may be damaged")
    func suspects() throws {
        let scene = try Scene()
        for key in ["a", "b", "c"] {
            _ = try scene.service.prepare(key, parent: nil, labels: [:])
            try scene.service.commit(key, as: "base-\(key)", onto: nil, labels: [:])
        }
        try scene.service.completeCommit(of: "base-b")
        let before = try scene.service.pendingSnapshots()
        #expect(before.new == ["base-a", "base-c"] && before.suspect.isEmpty)
        let store = try SnapshotStore(
            opening: scene.store.root, snapshotter: "overlayfs", boot: "second", clock: { 43 })
        let after = try ServiceSnapshots("unpack", of: store, in: try store.startRun()).pendingSnapshots()
        #expect(after.new.isEmpty && after.suspect == ["base-a", "base-c"])
    }

    @Test("Layers of an image are adopted from the lowest on, each only on its own parent")
    func adoptions() throws {
        let scene = try Scene()
        try scene.addImage()
        #expect(try scene.names().isEmpty)
        #expect(kind { _ = try scene.service.stat(Self.chain(1).description) } == .notFound)
        let first = Self.chain(1).description
        #expect(kind { _ = try scene.service.prepare("k", parent: first, labels: [:]) } == .notFound)
        // Without a parent the second layer is not that of the image.
        #expect(scene.prepare(2, on: nil) == nil)
        #expect(scene.prepare(1, on: nil) == .alreadyExists)
        #expect(scene.prepare(2, on: first) == .alreadyExists)
        let filter = #"labels."containerd.io/snapshot.ref"==\#(Self.chain(2)),parent=="\#(first)""#
        #expect(try scene.names(filter) == [Self.chain(2).description])
        #expect(try scene.names(#"labels."containerd.io/snapshot.ref"==\#(first),parent=="""#) == [first])
        _ = try scene.service.prepare("rw", parent: Self.chain(2).description, labels: [:])
        #expect(try scene.service.stat("rw").parent == Self.chain(2).description)
        // Its labels belong to the image. containerd sends updates that change none of them.
        let chainLabel = ["containerd.io/snapshot.ref": first]
        for fields in [[], ["labels"], ["labels.x"]] {
            #expect(
                kind { _ = try scene.service.update(first, labels: ["x": "y"], fields: fields) }
                    == .failedPrecondition)
            #expect(try scene.service.update(first, labels: chainLabel, fields: fields).labels == chainLabel)
        }
        #expect(
            try scene.service.update(first, labels: [:], fields: ["labels.containerd.io/snapshot.ref"]).labels
                == chainLabel)
        // No new snapshot may have its name.
        #expect(kind { _ = try scene.service.view(first, parent: nil, labels: [:]) } == .alreadyExists)
        #expect(
            kind { try scene.service.commit("rw", as: first, onto: nil, labels: [:]) } == .alreadyExists)
    }

    @Test("A layer that is not durable yet is made durable before it is adopted")
    func adoptionsAreDurable() throws {
        let scene = try Scene()
        try scene.addImage(synced: false)
        #expect(try scene.column("boot") == ["first", "first"])
        #expect(scene.prepare(1, on: nil) == .alreadyExists)
        #expect(try scene.column("boot") == [nil, "first"])
    }

    @Test("An adopted layer stays without its image, and is removed when the adoption ends")
    func adoptionsKeep() throws {
        let scene = try Scene()
        try scene.addImage()
        let (first, second) = (Self.chain(1).description, Self.chain(2).description)
        #expect(scene.prepare(1, on: nil) == .alreadyExists)
        #expect(try scene.store.remove(scene.image).map(\.snapshot.name) == [second])
        #expect(try scene.store.prune(in: scene.run).isEmpty)
        #expect(kind { try scene.store.remove(first) } == .failedPrecondition)
        let info = try scene.service.stat(first)
        try scene.service.remove(first, .complete)
        #expect(try scene.store.find(first) == nil)
        #expect(try !scene.exists(info))
    }

    @Test("An image keeps a layer after its adoption ends; adoptions end from the top down")
    func imagesKeep() throws {
        let scene = try Scene()
        try scene.addImage()
        let (first, second) = (Self.chain(1).description, Self.chain(2).description)
        #expect(scene.prepare(1, on: nil) == .alreadyExists)
        #expect(scene.prepare(2, on: first) == .alreadyExists)
        _ = try scene.service.prepare("rw", parent: second, labels: [:])
        #expect(kind { try scene.service.remove(first, .complete) } == .failedPrecondition)
        #expect(kind { try scene.service.remove(second, .complete) } == .failedPrecondition)
        for key in ["rw", second, first] { try scene.service.remove(key, .complete) }
        #expect(kind { try scene.service.remove(first, .complete) } == .notFound)
        #expect(try scene.names().isEmpty)
        #expect(try scene.store.readOnlyMounts(of: second).count == 1)
        #expect(try scene.store.prune(in: scene.run).isEmpty)
    }

    @Test("Only a verified layer is adopted, not a snapshot with its label or name")
    func onlyVerified() throws {
        let scene = try Scene()
        let first = Self.chain(1).description
        let label = ["containerd.io/snapshot.ref": first]
        #expect(kind { try scene.store.prepare("forged", labels: label, in: scene.run) } == .invalidArgument)
        try scene.store.prepare("forged", in: scene.run)
        #expect(
            kind { try scene.store.commit("forged", as: first, labels: label, isSynced: true) }
                == .invalidArgument)
        #expect(kind { try scene.store.update("forged", labels: label) } == .invalidArgument)
        try scene.store.commit("forged", as: first, isSynced: true)
        #expect(scene.prepare(1, on: nil) == nil)
        #expect(try scene.names() == ["extract-1"])
    }

    /// One namespace of containerd prepares a snapshot with the label and writes other content into it; the image is
    /// unpacked; another namespace prepares with the label and uses the snapshot that it finds by it.
    @Test("A snapshot that a client labels with a chain is never found by that label")
    func impostor() throws {
        let scene = try Scene()
        let first = Self.chain(1).description
        let label = ["containerd.io/snapshot.ref": first]
        _ = try scene.service.prepare("default/1/extract", parent: nil, labels: label)
        try scene.service.commit("default/1/extract", as: "default/2/\(first)", onto: nil, labels: label)
        #expect(try scene.service.update("default/2/\(first)", labels: label, fields: []).labels.isEmpty)
        #expect(
            try scene.service.update(
                "default/2/\(first)", labels: label, fields: ["labels.containerd.io/snapshot.ref"]
            ).labels.isEmpty)
        let filter = #"labels."containerd.io/snapshot.ref"==\#(first),parent=="""#
        #expect(try scene.names(filter).isEmpty)
        try scene.addImage()
        #expect(scene.prepare(1, on: nil) == .alreadyExists)
        #expect(try scene.names(filter) == [first])
    }

    @Test("A layer is not adopted if the service has a snapshot of its name, finished or not")
    func takenName() throws {
        let scene = try Scene()
        try scene.addImage()
        let first = Self.chain(1).description
        _ = try scene.service.prepare(first, parent: nil, labels: [:])
        #expect(scene.prepare(1, on: nil) == nil)
        #expect(try scene.service.stat(first).verifiedChain == nil)
        try scene.service.remove("extract-1", .complete)
        try scene.service.remove(first, .complete)
        #expect(scene.prepare(1, on: nil) == .alreadyExists)
        #expect(try scene.service.stat(first).verifiedChain == Self.chain(1))
        // Another service does not see that name.
        let other = try ServiceSnapshots("other", of: scene.store, in: scene.run)
        _ = try other.view(first, parent: nil, labels: [:])
    }

    @Test(
        "The database refuses statements that would break the chain of trust",
        arguments: [
            "UPDATE snapshot SET verified_chain = 'sha256:00' WHERE name = 'unpack:own'",
            "UPDATE snapshot SET parent = (SELECT id FROM snapshot WHERE name = 'unpack:own') WHERE id = 2",
            "UPDATE snapshot SET kind = 'active' WHERE id = 1",
            "UPDATE snapshot SET owner = 'unpack' WHERE id = 1",
            "UPDATE snapshot SET name = 'unpack:' || (SELECT name FROM snapshot WHERE id = 1) WHERE name = 'unpack:own'",
            "UPDATE snapshot SET distrusted = 1 WHERE id = 1",
            "INSERT INTO label VALUES (1, 'containerd.io/snapshot.ref', 'sha256:00')",
            "INSERT INTO claim SELECT 'unpack', id FROM snapshot WHERE name = 'unpack:own'",
            "INSERT INTO claim SELECT 'other', id FROM snapshot WHERE id = 2",
            """
            INSERT INTO snapshot (id, snapshotter, name, kind, owner, verified_chain, created, updated)
            VALUES (99, 'overlayfs', 'sha256:11', 'committed', 'images', 'sha256:11', 0, 0)
            """,
        ])
    func constraints(statement: String) throws {
        let scene = try Scene()
        try scene.addImage(synced: false)
        #expect(scene.prepare(1, on: nil) == .alreadyExists)
        _ = try scene.service.prepare("rw", parent: nil, labels: [:])
        try scene.service.commit("rw", as: "own", onto: nil, labels: [:])
        let path = scene.scratch.path.appending("store/metadata.db").string
        let run = try Command.run("sqlite3", path, "\(statement)")
        #expect(run.status != 0 && run.errorText.contains("(19)"), "\(run.report)")
    }
}
