import Kernel
import Mounts
import Snapshots
import SystemPackage
import TestSupport
import Testing

/// The cases of containerd's conformance suite about the content of snapshots, as `ConformanceTests`.
@Suite("Content of snapshots by the contract")
struct ContentConformanceTests {
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
            if !site.usesOverlay { try root.rename("dir", to: "renamed") }
        }
        try ground.shows("2") { root throws in
            #expect(try root.read("existing") == "replacing")
            #expect(try root.read("new") == "moved")
            #expect(try root.status(of: "moved") == nil && root.status(of: "replacing") == nil)
            if !site.usesOverlay { #expect(try root.open("renamed").read("in") == "in") }
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
