import Kernel
import Mounts
import Snapshots
import SystemPackage
import TestSupport
import Testing

/// containerd's conformance suite for snapshotters (`core/snapshots/testsuite`), case by case with the same names, for
/// every snapshotter that can work here, with real mounts.
@Suite("Snapshotter contract")
struct ConformanceTests {
    @Test(
        "Every snapshotter can be tried here", .disabled(if: Site.all.isEmpty, "no place for snapshots"),
        arguments: SnapshotStore.supported)
    func present(snapshotter: String) throws {
        if let restriction = Site.restriction(snapshotter) {
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

    @Test("LayerFileupdate", arguments: Site.all)
    func layerFileUpdate(site: Site) throws {
        let ground = try Ground(site)
        defer { ground.end() }
        for round in 1...5 {
            try ground.make("1-\(round)") { root throws in
                try root.put("foo", "old content")
                try root.makeDirectory("etc", mode: 0o755)
                try root.open("etc").put("hosts", "same size: 1", mode: 0o644)
            }
            try ground.make("2-\(round)", on: "1-\(round)") { root throws in
                try root.put("foo", "new content")
                try root.open("etc").put("hosts", "same size: 2")
                try root.open("etc").setMode(of: "hosts", 0o640)
            }
            try ground.shows("2-\(round)") { root throws in
                #expect(try root.read("foo") == "new content")
                #expect(try root.open("etc").read("hosts") == "same size: 2")
                #expect(try root.open("etc").status(of: "hosts")?.mode == 0o640)
            }
        }
    }

    @Test("RemoveDirectoryInLowerLayer", arguments: Site.all)
    func removeDirectoryInLowerLayer(site: Site) throws {
        let ground = try Ground(site)
        defer { ground.end() }
        try ground.make("1") { root throws in
            try root.makeDirectory("d", mode: 0o755)
            try root.open("d").put("lower", "1")
        }
        try ground.make("2", on: "1") { root throws in
            try root.removeTree("d")
            try root.makeDirectory("d", mode: 0o755)
            #expect(try root.open("d").names().isEmpty)
        }
        try ground.make("3", on: "2") { try $0.open("d").put("upper", "3") }
        #expect(try ground.shows("2") { try $0.open("d").names() } == [])
        #expect(try ground.shows("3") { try $0.open("d").names() } == ["upper"])
    }

    @Test("Chown", arguments: Site.all)
    func chown(site: Site) throws {
        let ground = try Ground(site)
        defer { ground.end() }
        try ground.make("1") { root throws in
            try root.makeDirectory("opt", mode: 0o755)
            try root.open("opt").makeDirectory("a", mode: 0o755)
            try root.open("opt").open("a").put("file", "x")
        }
        try ground.make("2", on: "1") { root throws in
            try root.setOwner(of: "opt", uid: 1, gid: 1)
            try root.open("opt").setOwner(of: "a", uid: 1, gid: 2)
            try root.open("opt").open("a").setOwner(of: "file", uid: 3, gid: 4)
        }
        try ground.shows("2") { root throws in
            let opt = try root.open("opt")
            #expect(try root.owner(of: "opt") == [1, 1])
            #expect(try opt.owner(of: "a") == [1, 2])
            #expect(try opt.open("a").owner(of: "file") == [3, 4])
        }
    }

    @Test("DirectoryPermissionOnCommit", arguments: Site.all)
    func directoryPermissionOnCommit(site: Site) throws {
        let ground = try Ground(site)
        defer { ground.end() }
        let names: [FileName] = ["dir1", "dir2", "dir3", "dir4", "dir5"]
        try ground.make("1") { root throws in
            for name in names { try root.makeDirectory(name, mode: 0o700) }
            for name in names.prefix(3) { try root.setOwner(of: name, uid: 1, gid: 1) }
        }
        try ground.make("2", on: "1") { root throws in
            try root.setOwner(of: "dir1", uid: 2, gid: 2)
            try root.removeTree("dir2")
            try root.makeDirectory("dir2", mode: 0o750)
            try root.removeTree("dir4")
            try root.makeDirectory("dir4", mode: 0o711)
            try root.setOwner(of: "dir4", uid: 5, gid: 6)
        }
        try ground.make("3", on: "2") { root throws in
            try root.removeTree("dir5")
            try root.makeDirectory("dir5", mode: 0o777)
            try root.setOwner(of: "dir5", uid: 7, gid: 8)
        }
        try ground.shows("3") { root throws in
            let owners = try names.map { try root.owner(of: $0) }
            #expect(owners == [[2, 2], [0, 0], [1, 1], [5, 6], [7, 8]])
            let modes = try names.map { try root.status(of: $0)?.mode }
            #expect(modes == [0o700, 0o750, 0o700, 0o711, 0o777])
        }
    }

    @Test("RemoveIntermediateSnapshot", arguments: Site.all)
    func removeIntermediate(site: Site) throws {
        let ground = try Ground(site)
        defer { ground.end() }
        let store = ground.store
        try ground.make("base")
        try ground.make("intermediate", on: "base")
        try store.prepare("top", parent: "intermediate", in: ground.run)
        let refusal = #expect(throws: StoreFailure.self) { try store.remove("intermediate") }
        #expect(refusal?.kind == .failedPrecondition && refusal?.description.contains("remove") == true)
        for name in ["top", "intermediate", "base"] { try store.remove(name) }
        var isEmpty = true
        try store.walk { _ in isEmpty = false }
        #expect(isEmpty)
    }

    @Test("DeletedFilesInChildSnapshot", arguments: Site.all)
    func deletedFiles(site: Site) throws {
        let ground = try Ground(site)
        defer { ground.end() }
        try ground.make("1") { root throws in
            try root.put("kept", "1")
            try root.put("deleted", "1")
        }
        try ground.make("2", on: "1") { try $0.removeFile("deleted") }
        try ground.make("3", on: "2") { try $0.put("added", "3") }
        #expect(try ground.shows("2") { Set(try $0.names()) } == ["kept"])
        #expect(try ground.shows("3") { Set(try $0.names()) } == ["kept", "added"])
    }

    @Test("MoveFileFromLowerLayer", arguments: Site.all)
    func moveFromLower(site: Site) throws {
        let ground = try Ground(site)
        defer { ground.end() }
        try ground.make("1") { root throws in
            try root.makeDirectory("dir1", mode: 0o755)
            try root.open("dir1").put("f1", "one")
            try root.open("dir1").put("f2", "two")
        }
        try ground.make("2", on: "1") { root throws in
            let lower = try root.open("dir1")
            try root.makeDirectory("dir2", mode: 0o755)
            let upper = try root.open("dir2")
            for name: FileName in ["f1", "f2"] {
                try upper.link(name, of: lower, as: name)
                try lower.removeFile(name)
            }
            try root.removeEmptyDirectory("dir1")
        }
        try ground.shows("2") { root throws in
            #expect(try root.names() == ["dir2"])
            #expect(try root.open("dir2").read("f1") == "one")
            #expect(try root.open("dir2").read("f2") == "two")
        }
    }

    @Test("ViewReadonly", arguments: Site.all)
    func viewReadOnly(site: Site) throws {
        let ground = try Ground(site)
        defer { ground.end() }
        try ground.make("1") { try $0.put("file", "1") }
        try ground.make("2", on: "1") { try $0.put("other", "2") }
        for name in ["1", "2"] {
            try ground.shows(name) { root throws in
                let refusal = #expect(throws: SyscallFailure.self) {
                    _ = try root.createFile("new", mode: 0o600)
                }
                #expect(refusal?.errno == .readOnlyFileSystem)
                #expect(throws: SyscallFailure.self) { try root.setMode(of: "file", 0o777) }
                #expect(throws: SyscallFailure.self) { try root.removeFile("file") }
            }
        }
        let empty = try ground.store.view("empty", in: ground.run)
        try ground.mounted(empty) { root throws in
            _ = #expect(throws: SyscallFailure.self) { _ = try root.createFile("new", mode: 0o600) }
        }
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

    @Test("RootPermission", arguments: Site.all)
    func rootPermission(site: Site) throws {
        let ground = try Ground(site)
        defer { ground.end() }
        try ground.mounted(try ground.store.prepare("key", in: ground.run)) { root throws in
            let status = try root.file.status()
            #expect(status.mode == 0o755 && status.uid == 0 && status.gid == 0)
            #expect(try root.names().isEmpty)
        }
    }

    /// Overlay cannot rename a directory of a lower layer without `redirect_dir`, which some kernels lack.
    @Test("Rename", arguments: Site.all)
    func rename(site: Site) throws {
        let ground = try Ground(site)
        defer { ground.end() }
        try ground.make("1") { root throws in
            for name: FileName in ["existing", "moved", "replacing"] { try root.put(name, "\(name)") }
            try root.makeDirectory("dir", mode: 0o755)
            try root.open("dir").put("in", "in")
        }
        try ground.make("2", on: "1") { root throws in
            try root.rename("replacing", to: "existing")
            try root.rename("moved", to: "new")
            if site.snapshotter != "overlayfs" { try root.rename("dir", to: "renamed") }
        }
        try ground.shows("2") { root throws in
            #expect(try root.read("existing") == "replacing")
            #expect(try root.read("new") == "moved")
            #expect(try root.status(of: "moved") == nil && root.status(of: "replacing") == nil)
            if site.snapshotter != "overlayfs" { #expect(try root.open("renamed").read("in") == "in") }
        }
    }

    @Test("128LayersMount", arguments: Site.all)
    func manyLayers(site: Site) throws {
        let ground = try Ground(site)
        defer { ground.end() }
        let flat = try TemporaryDirectory(in: try #require(TestEnvironment.scratch))
        let model = try Directory(opening: flat.path)
        try model.file.setMode(0o755)
        func change(_ root: Directory, _ number: Int) throws {
            try root.put("bottom", "\(number)", mode: 0o644)
            try root.put(FileName(literal: "layer-\(number)"), "added by \(number)")
            try root.removeTree("dir")
            try root.makeDirectory("dir", mode: 0o755)
            try root.open("dir").put(FileName(literal: "of-\(number)"), "\(number)")
        }
        for number in 1...128 {
            let before = try Ground.lines(model)
            try change(model, number)
            let after = try Ground.lines(model)
            try ground.make("\(number)", on: number > 1 ? "\(number - 1)" : nil) { root throws in
                #expect(try Ground.lines(root) == before)
                try change(root, number)
                #expect(try Ground.lines(root) == after)
            }
        }
        #expect(try ground.tree("128") == Ground.lines(model))
    }
}

extension FileName: ExpressibleByStringLiteral {
    public init(stringLiteral literal: String) { self.init(literal: literal) }
}

extension Directory {
    /// Makes a file, or replaces the content of an existing one.
    func put(_ name: FileName, _ text: String, mode: UInt32 = 0o644) throws {
        let file = try openOrCreateFile(name, mode: mode)
        try file.truncate(to: 0)
        try Array(text.utf8).withRawSpan { try file.write($0, at: 0) }
        try file.close()
    }

    func read(_ name: FileName) throws -> String {
        var bytes = [UInt8]()
        try openFile(name).read(into: &bytes, limit: 1 << 16)
        return String(decoding: bytes, as: UTF8.self)
    }

    func owner(of name: FileName) throws -> [UInt32] {
        try status(of: name).map { [$0.uid, $0.gid] } ?? []
    }
}
