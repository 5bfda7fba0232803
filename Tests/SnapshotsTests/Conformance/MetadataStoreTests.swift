import Kernel
import Mounts
import Snapshots
import SystemPackage
import TestSupport
import Testing

/// containerd's suite for its metadata store (`core/snapshots/storage/metastore_test.go`), case by case, for every
/// snapshotter that can work here.
@Suite("Metadata store contract")
struct MetadataStoreTests {
    /// Two committed snapshots, one based on the other, and an active snapshot and a view on each and on nothing.
    private struct Base {
        let ground: Ground
        var store: SnapshotStore { ground.store }

        init(_ site: Site) throws {
            ground = try Ground(site)
            let (store, run) = (ground.store, ground.run)
            try store.prepare("key-1", in: run)
            try store.commit("key-1", as: "committed-1", isSynced: false)
            try store.prepare("key-2", parent: "committed-1", in: run)
            try store.commit("key-2", as: "committed-2", isSynced: false)
            for (suffix, parent) in [("1", nil), ("2", "committed-1"), ("3", "committed-2")] {
                try store.prepare("active-\(suffix)", parent: parent, in: run)
                try store.view("view-\(suffix)", parent: parent, in: run)
            }
        }
    }

    @Test("GetInfo", arguments: Site.all)
    func getInfo(site: Site) throws {
        let base = try Base(site)
        defer { base.ground.end() }
        let store = base.store
        let expected: [(String, SnapshotInfo.Kind, String?)] = [
            ("committed-1", .committed, nil), ("committed-2", .committed, "committed-1"),
            ("active-1", .active, nil), ("active-2", .active, "committed-1"),
            ("active-3", .active, "committed-2"),
            ("view-1", .view, nil), ("view-2", .view, "committed-1"), ("view-3", .view, "committed-2"),
        ]
        for (name, kind, parent) in expected {
            let info = try store.stat(name)
            #expect(info.name == name && info.kind == kind && info.parent == parent && info.labels.isEmpty)
        }
    }

    @Test("GetInfoNotExist", arguments: Site.all)
    func getInfoNotExist(site: Site) throws {
        let base = try Base(site)
        defer { base.ground.end() }
        let store = base.store
        #expect(kind { _ = try store.stat("active-not-exist") } == .notFound)
        #expect(kind { _ = try store.usage(of: "active-not-exist") } == .notFound)
        #expect(kind { try store.update("active-not-exist", labels: [:]) } == .notFound)
    }

    @Test("GetInfoEmptyDB, GetSnapshotEmptyDB", arguments: Site.all)
    func emptyDatabase(site: Site) throws {
        let ground = try Ground(site)
        defer { ground.end() }
        let store = ground.store
        #expect(kind { _ = try store.stat("active-1") } == .notFound)
        #expect(kind { _ = try store.mounts(of: "active-1") } == .notFound)
        try store.walk { _ in Issue.record("nothing is there") }
    }

    @Test("Walk", arguments: Site.all)
    func walk(site: Site) throws {
        let base = try Base(site)
        defer { base.ground.end() }
        let store = base.store
        var found = [SnapshotInfo]()
        try store.walk { found.append($0) }
        #expect(found.count == 8)
        for info in found { #expect(try store.stat(info.name) == info) }
    }

    @Test("GetSnapshot", arguments: Site.all)
    func getSnapshot(site: Site) throws {
        let base = try Base(site)
        defer { base.ground.end() }
        let store = base.store
        for suffix in ["1", "2", "3"] {
            #expect(try !store.mounts(of: "active-\(suffix)").allSatisfy { $0.isReadOnly })
            #expect(try store.mounts(of: "view-\(suffix)").allSatisfy { $0.isReadOnly })
        }
    }

    @Test("GetSnapshotNotExist, GetSnapshotCommitted", arguments: Site.all)
    func getSnapshotWrong(site: Site) throws {
        let base = try Base(site)
        defer { base.ground.end() }
        let store = base.store
        #expect(kind { _ = try store.mounts(of: "active-not-exist") } == .notFound)
        #expect(kind { _ = try store.mounts(of: "committed-1") } == .failedPrecondition)
    }

    @Test("CreateActive: ids are unique, and a commit keeps its own", arguments: Site.all)
    func createActive(site: Site) throws {
        let base = try Base(site)
        defer { base.ground.end() }
        let store = base.store
        var ids = Set<Int64>()
        try store.walk { ids.insert($0.id) }
        #expect(ids.count == 8)
        let before = try store.stat("active-2").id
        try store.commit("active-2", as: "committed-3", isSynced: false)
        #expect(try store.stat("committed-3").id == before)
        try store.remove("committed-3")
        try store.prepare("later", in: base.ground.run)
        #expect(try !ids.contains(store.stat("later").id))
    }

    @Test("CreateActiveNotExist, CreateActiveExist, CreateActiveFromActive", arguments: Site.all)
    func createActiveWrong(site: Site) throws {
        let base = try Base(site)
        defer { base.ground.end() }
        let (store, run) = (base.store, base.ground.run)
        #expect(kind { try store.prepare("new", parent: "not-exist", in: run) } == .notFound)
        #expect(kind { try store.view("new", parent: "not-exist", in: run) } == .notFound)
        // The parent is checked first.
        #expect(kind { try store.prepare("active-1", parent: "not-exist", in: run) } == .notFound)
        #expect(kind { try store.prepare("active-1", parent: "committed-1", in: run) } == .alreadyExists)
        #expect(kind { try store.prepare("committed-1", parent: "committed-1", in: run) } == .alreadyExists)
        for parent in ["active-1", "view-1"] {
            #expect(kind { try store.prepare("new", parent: parent, in: run) } == .invalidArgument)
            #expect(kind { try store.view("new", parent: parent, in: run) } == .invalidArgument)
        }
        let long = ["key": String(repeating: "v", count: 4094)]
        #expect(kind { try store.prepare("new", labels: long, in: run) } == .invalidArgument)
        #expect(kind { _ = try store.stat("new") } == .notFound)
    }

    @Test("Commit", arguments: Site.all)
    func commit(site: Site) throws {
        let base = try Base(site)
        defer { base.ground.end() }
        let store = base.store
        try store.update("active-3", labels: ["old": "label"])
        let active = try store.stat("active-3")
        try store.commit(
            "active-3", as: "committed-3", labels: ["new": "label", "empty": ""], isSynced: false)
        let info = try store.stat("committed-3")
        #expect(info.kind == .committed && info.parent == "committed-2")
        #expect(info.labels == ["new": "label"])
        #expect(info.created == info.updated && info.created > active.updated)
        #expect(kind { _ = try store.stat("active-3") } == .notFound)
        let usage = try store.usage(of: "committed-3")
        #expect(usage.inodes >= 1)
    }

    @Test("CommitNotExist, CommitExist, CommitCommitted, CommitViewFails", arguments: Site.all)
    func commitWrong(site: Site) throws {
        let base = try Base(site)
        defer { base.ground.end() }
        let store = base.store
        func commit(_ key: String, as name: String = "committed-3", onto parent: String? = nil)
            -> StoreFailure.Kind?
        {
            kind { try store.commit(key, as: name, onto: parent, isSynced: false) }
        }
        #expect(commit("not-exist") == .notFound)
        // The key is checked first.
        #expect(commit("not-exist", as: "committed-1") == .notFound)
        #expect(commit("active-1", as: "committed-1") == .alreadyExists)
        #expect(commit("active-1", as: "view-1") == .alreadyExists)
        #expect(commit("committed-1") == .failedPrecondition)
        #expect(commit("view-1") == .failedPrecondition)
        #expect(try store.stat("active-1").kind == .active)
    }

    @Test("Remove", arguments: Site.all)
    func remove(site: Site) throws {
        let base = try Base(site)
        defer { base.ground.end() }
        let store = base.store
        for name in [
            "view-3", "active-3", "view-2", "active-2", "view-1", "active-1", "committed-2", "committed-1",
        ] {
            try store.remove(name)
            #expect(try store.find(name) == nil)
        }
    }

    @Test("RemoveNotExist, RemoveWithChildren", arguments: Site.all)
    func removeWrong(site: Site) throws {
        let base = try Base(site)
        defer { base.ground.end() }
        let store = base.store
        #expect(kind { try store.remove("not-exist") } == .notFound)
        for name in ["committed-1", "committed-2"] {
            #expect(kind { try store.remove(name) } == .failedPrecondition)
        }
        // A view is a child, too.
        for name in ["view-3", "active-3", "view-2", "active-2", "committed-2"] {
            #expect(kind { try store.remove("committed-1") } == .failedPrecondition)
            try store.remove(name)
        }
        try store.remove("committed-1")
    }

    @Test("ParentIDs: the nearest first", arguments: Site.all)
    func parentIDs(site: Site) throws {
        let ground = try Ground(site)
        defer { ground.end() }
        for number in 1...3 {
            try ground.make("\(number)", on: number > 1 ? "\(number - 1)" : nil) {
                try $0.put("top", "\(number)")
            }
        }
        #expect(try ground.shows("3") { try $0.read("top") } == "3")
        if site.usesOverlay {
            let lowers: [FilePath]
            switch try ground.store.readOnlyMounts(of: "3").first {
            case .overlay(let directories, nil, false, _): lowers = directories
            case .imageStack(let images, nil, _): lowers = images
            default:
                Issue.record("no overlay")
                return
            }
            let ids = try ["3", "2", "1"].map { try ground.store.stat($0).id }
            #expect(
                lowers.compactMap { $0.removingLastComponent().lastComponent?.string } == ids.map { "\($0)" })
        }
    }

    @Test("Rebase", arguments: Site.all)
    func rebase(site: Site) throws {
        let base = try Base(site)
        defer { base.ground.end() }
        let (store, run) = (base.store, base.ground.run)
        func commit(preparedOn old: String?, onto new: String?, as name: String) throws -> StoreFailure.Kind?
        {
            let key = "rebased-\(name)"
            try store.prepare(key, parent: old, in: run)
            let failure = kind { try store.commit(key, as: name, onto: new, isSynced: false) }
            if failure != nil { try store.remove(key) }
            return failure
        }
        if store.content.isLayer {
            #expect(try commit(preparedOn: nil, onto: "committed-1", as: "a") == nil)
            #expect(try store.stat("a").parent == "committed-1")
        } else {
            // A tree of a full-copy backend does not have the files of a parent that it gets later.
            #expect(try commit(preparedOn: nil, onto: "committed-1", as: "a") == .invalidArgument)
        }
        #expect(try commit(preparedOn: "committed-1", onto: "committed-1", as: "b") == nil)
        #expect(try store.stat("b").parent == "committed-1")
        #expect(try commit(preparedOn: "committed-1", onto: nil, as: "c") == nil)
        #expect(try store.stat("c").parent == "committed-1")
        #expect(try commit(preparedOn: nil, onto: "unknown", as: "d") == .notFound)
        #expect(try commit(preparedOn: nil, onto: "active-1", as: "e") == .failedPrecondition)
        #expect(try commit(preparedOn: "committed-1", onto: "committed-2", as: "f") == .invalidArgument)
    }
}
