import Kernel
import Mounts
import Snapshots
import SystemPackage
import TestSupport
import Testing

/// containerd's conformance suite for snapshotters (`core/snapshots/testsuite`), case by case with the same names, for
/// every snapshotter that can work here, with real mounts. `ContentConformanceTests` has the cases about content.
@Suite("Snapshotter contract")
struct ConformanceTests {
    @Test(
        "Every snapshotter can be tried here",
        .disabled(
            if: Site.all.isEmpty && !TestEnvironment.isConformanceChosen, "no place for snapshots"),
        arguments: TestEnvironment.chosen(SnapshotStore.supported))
    func present(snapshotter: String) throws {
        if let restriction = Site.restriction(snapshotter) {
            if TestEnvironment.isConformanceChosen { Issue.record("\(snapshotter): \(restriction)") }
            try Test.cancel("\(snapshotter): \(restriction)")
        }
    }

    @Test("Basic", arguments: Site.all)
    func basic(site: Site) throws {
        let ground = try Ground(site)
        defer { ground.end() }
        let store = ground.store
        let mounts = try store.prepare("preparing", in: ground.run)
        #expect(mounts.count >= 1)
        var first = [String]()
        try ground.mounted(mounts) { root throws in
            try root.put("foo", "foo\n")
            try root.makeDirectory("a", mode: 0o755)
            try root.open("a").makeDirectory("b", mode: 0o755)
            try root.open("a").open("b").makeDirectory("c", mode: 0o755)
            first = try Ground.lines(root)
        }
        try store.commit("preparing", as: "committed", isSynced: false)
        let info = try store.stat("committed")
        #expect(info.parent == nil && info.kind == .committed)
        #expect(kind { _ = try store.stat("preparing") } == .notFound)

        let next = try store.prepare("next", parent: "committed", in: ground.run)
        var second = [String]()
        try ground.mounted(next) { root throws in
            #expect(try Ground.lines(root) == first)
            try root.put("bar", "bar\n")
            try root.put("foo", "changed\n")
            try root.open("a").open("b").removeTree("c")
            second = try Ground.lines(root)
        }
        #expect(second != first)
        let active = try store.stat("next")
        #expect(active.parent == "committed" && active.kind == .active)
        try store.commit("next", as: "nextCommitted", isSynced: false)
        let committed = try store.stat("nextCommitted")
        #expect(committed.parent == "committed" && committed.kind == .committed)
        #expect(kind { _ = try store.stat("next") } == .notFound)

        var walked = [SnapshotInfo]()
        try store.walk { walked.append($0) }
        #expect(walked.sorted { $0.name < $1.name } == [info, committed])

        let view = try store.view("view", parent: "nextCommitted", in: ground.run)
        let viewed = try ground.mounted(view) { try Ground.lines($0) }
        #expect(viewed == second)
        try store.remove("view")
        let refusal = #expect(throws: StoreFailure.self) { try store.remove("committed") }
        #expect(refusal?.kind == .failedPrecondition)
        #expect(refusal?.description.contains("remove") == true)
        try store.remove("nextCommitted")
        try store.remove("committed")
    }

    @Test("StatActive", arguments: Site.all)
    func statActive(site: Site) throws {
        let ground = try Ground(site)
        defer { ground.end() }
        try ground.store.prepare("preparing", in: ground.run)
        let info = try ground.store.stat("preparing")
        #expect(info.name == "preparing" && info.kind == .active && info.parent == nil)
    }

    @Test("StatComitted", arguments: Site.all)
    func statCommitted(site: Site) throws {
        let ground = try Ground(site)
        defer { ground.end() }
        try ground.make("name")
        let info = try ground.store.stat("name")
        #expect(info.name == "name" && info.kind == .committed && info.parent == nil)
        #expect(info.labels == ["containerd.io/gc.root": "now"])
    }

    @Test("TransitivityTest", arguments: Site.all)
    func transitivity(site: Site) throws {
        let ground = try Ground(site)
        defer { ground.end() }
        try ground.make("a")
        try ground.make("b", on: "a")
        #expect(try ground.store.stat("a").parent == nil)
        let b = try ground.store.stat("b")
        #expect(b.parent == "a")
        #expect(try ground.store.stat(try #require(b.parent)).parent == nil)
    }

    @Test("PreareViewFailingtest", arguments: Site.all)
    func prepareViewFailing(site: Site) throws {
        let ground = try Ground(site)
        defer { ground.end() }
        let (store, run) = (ground.store, ground.run)
        try ground.make("base")
        try store.prepare("used", parent: "base", in: run)
        #expect(kind { try store.view("used", parent: "base", in: run) } == .alreadyExists)
        #expect(kind { try store.prepare("used", parent: "base", in: run) } == .alreadyExists)
        try store.view("viewed", parent: "base", in: run)
        #expect(kind { try store.view("viewed", parent: "base", in: run) } == .alreadyExists)
        #expect(kind { try store.prepare("viewed", in: run) } == .alreadyExists)
        #expect(kind { try store.prepare("base", in: run) } == .alreadyExists)
    }

    @Test("Update", arguments: Site.all)
    func update(site: Site) throws {
        let ground = try Ground(site)
        defer { ground.end() }
        let (store, run) = (ground.store, ground.run)
        try ground.make("c1")
        try ground.make("c2", on: "c1")
        try store.prepare("a1", parent: "c2", labels: ["l1": "old", "l2": "old", "l3": "old"], in: run)
        try store.prepare("a2", in: run)
        try store.view("v1", parent: "c2", in: run)
        try store.view("v2", in: run)
        let expected: [(String, SnapshotInfo.Kind, String?)] = [
            ("c1", .committed, nil), ("c2", .committed, "c1"), ("a1", .active, "c2"), ("a2", .active, nil),
            ("v1", .view, "c2"), ("v2", .view, nil),
        ]
        for (name, kind, parent) in expected {
            let info = try store.stat(name)
            #expect(info.created == info.updated)
            #expect(info.kind == kind && info.parent == parent && info.name == name)
            let updated = try store.update(name, labels: ["new": name])
            #expect(updated.labels == ["new": name])
            #expect(updated.kind == kind && updated.parent == parent && updated.name == name)
            #expect(updated.created == info.created && updated.updated > info.updated)
            #expect(try store.stat(name) == updated)
        }
        try store.update("a1", labels: ["l1": "old", "l2": "old", "l3": "kept"])
        let masked = try store.update(
            "a1", labels: ["l1": "new", "l4": "ignored"], fields: ["labels.l1", "labels.l2"])
        #expect(masked.labels == ["l1": "new", "l3": "kept"])
        let all = try store.update("a1", labels: ["only": "this"], fields: ["labels"])
        #expect(all.labels == ["only": "this"])
        #expect(kind { try store.update("a1", labels: [:], fields: ["parent"]) } == .invalidArgument)
        #expect(try store.stat("a1") == all)
    }

    @Test("Remove", arguments: Site.all)
    func remove(site: Site) throws {
        let ground = try Ground(site)
        defer { ground.end() }
        let (store, run) = (ground.store, ground.run)
        try ground.make("committed-1")
        try store.prepare("reuse-1", parent: "committed-1", in: run)
        try store.remove("reuse-1")
        try store.view("reuse-1", parent: "committed-1", in: run)
        try store.remove("reuse-1")
        try store.prepare("reuse-1", in: run)
        try store.remove("committed-1")
        try store.commit("reuse-1", as: "committed-1", isSynced: false)
        #expect(try store.stat("committed-1").parent == nil)
    }

    @Test("Walk", arguments: Site.all)
    func walk(site: Site) throws {
        let ground = try Ground(site)
        defer { ground.end() }
        let (store, run) = (ground.store, ground.run)
        let filtered = ["filtered": "true"]
        func commit(_ name: String, on parent: String? = nil, _ labels: [String: String] = [:]) throws {
            try store.prepare("\(name)-key", parent: parent, in: run)
            try store.commit("\(name)-key", as: name, labels: labels, isSynced: false)
        }
        try commit("a1")
        try commit("b2", on: "a1", filtered.merging(["l": "2"]) { $1 })
        try commit("c3", on: "b2", ["l": "3"])
        try store.prepare("active-1", parent: "c3", in: run)
        try store.prepare("active-2", parent: "c3", labels: filtered, in: run)
        try store.prepare("active-3", labels: ["l": "2"], in: run)
        try store.view("view-1", parent: "c3", labels: filtered, in: run)
        try store.view("view-2", in: run)
        func names(_ filters: String...) throws -> Set<String> {
            var names = Set<String>()
            try store.walk(try filters.map { try SnapshotFilter(parsing: $0) }) { names.insert($0.name) }
            return names
        }
        #expect(try names().count == 8)
        #expect(try names("labels.filtered==true") == ["b2", "active-2", "view-1"])
        #expect(try names("kind==active,labels.filtered==true") == ["active-2"])
        #expect(try names("kind==view,labels.filtered==true") == ["view-1"])
        #expect(try names("kind==committed,labels.filtered==true") == ["b2"])
        #expect(try names("name==a1", "name==view-2") == ["a1", "view-2"])
        #expect(try names("name==b2,labels.l") == ["b2"])
        #expect(try names("parent==c3") == ["active-1", "active-2", "view-1"])
        #expect(try names("parent!=\"\",labels.filtered==true") == ["b2", "active-2", "view-1"])
        #expect(try names("labels.l") == ["b2", "c3", "active-3"])
        #expect(try names("labels.l==2") == ["b2", "active-3"])
    }

    @Test("StatInWalk", arguments: Site.all)
    func statInWalk(site: Site) throws {
        let ground = try Ground(site)
        defer { ground.end() }
        try ground.make("1")
        try ground.store.prepare("2", parent: "1", in: ground.run)
        var count = 0
        try ground.store.walk { info throws in
            #expect(try ground.store.stat(info.name) == info)
            count += 1
        }
        #expect(count == 2)
    }

    @Test("CloseTwice", arguments: Site.all)
    func closeTwice(site: Site) throws {
        let ground = try Ground(site)
        defer { ground.end() }
        try ground.make("1")
        try ground.store.remove("1")
        try ground.store.close()
        try ground.store.close()
    }
}
