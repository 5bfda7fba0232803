import Foundation
import Kernel
import Layers
import Layout
import Logging
import Mounts
import OCI
import Snapshots
import Streams
import SystemPackage
import TestSupport
import Testing
import Unpacking

@Suite(
    "Applying layers to mounts of containerd",
    .enabled(if: TestEnvironment.canApplyLayers, "no directory that supports all metadata"))
struct DifferApplyTests {
    private let scratch: TemporaryDirectory
    private let builder: ImageBuilder
    private let blobs: BlobDirectory

    init() throws {
        Process.setUp()
        scratch = try TemporaryDirectory(in: try #require(TestEnvironment.scratch))
        builder = try ImageBuilder(at: scratch.path.appending("layout"))
        blobs = BlobDirectory(try Directory(opening: builder.path.appending("blobs")))
    }

    /// The lowest first; only the lowest has an entry for `d/`, whose metadata apply in the others too.
    private static let layers = [
        LayerBuilder(
            .directory("./", mode: 0o751), .directory("d", mode: 0o1777).at(7), .file("d/f", "1").at(7),
            .file("a", "1").xattr("user.k", "v"), .symlink("l", to: "d"), .directory("gone"),
            .file("gone/x")),
        LayerBuilder(.file("d/b", "2"), .whiteout("a"), .file("l/through", "2").owned(7, 8)),
        LayerBuilder(.file("d/c", "3"), .hardLink("h", to: "d/b"), .whiteout("gone"), .fifo("p")),
        LayerBuilder(.file("d/e", "4"), .opaque("d"), .directory("gone"), .file("gone/y")),
    ]

    // MARK: Mounts of containerd's snapshotters

    private func bind(_ path: FilePath, _ access: String = "rw") -> [ContainerdMount] {
        [ContainerdMount(type: "bind", source: path.string, options: [access, "rbind"])]
    }

    private func overlay(
        _ upper: FilePath, over lowers: [FilePath], _ more: [String] = []
    ) throws -> [ContainerdMount] {
        let work = try scratch.makeDirectory("work")
        let options = [
            "workdir=\(work.string)", "upperdir=\(upper.string)",
            "lowerdir=" + lowers.map(\.string).joined(separator: ":"), "index=off",
        ]
        return [ContainerdMount(type: "overlay", source: "overlay", options: options + more)]
    }

    /// Applies layers to mounts like those of containerd's overlayfs snapshotter: a bind mount, then overlays on it.
    private func applyAsOverlay(
        _ layers: [LayerBuilder], _ more: String..., isSynced: Bool = false
    ) throws -> [FilePath] {
        var paths = [FilePath]()
        for (number, layer) in layers.enumerated() {
            let path = try scratch.makeDirectory("snapshots-\(more)/\(number)")
            let mounts = try paths.isEmpty ? bind(path) : overlay(path, over: paths.reversed(), more)
            let found = try Differ().apply(
                try builder.layer(layer), from: blobs, onto: mounts, isSynced: isSynced)
            #expect(found.content.diffID == layer.diffID)
            #expect(found.content.size == Int64(layer.tar.count))
            paths.append(path)
        }
        return paths
    }

    private func dump(_ path: FilePath, showsMarks: Bool = true) throws -> TreeDump {
        try TreeDump(of: try Directory(opening: path), showsMarks: showsMarks)
    }

    // MARK: Results

    @Test("A layer applied to overlay mounts gives the same directory as in the store")
    func overlayfs() throws {
        try builder.writeIndex([try builder.image(Self.layers)])
        let request = UnpackRequest(
            image: ImageSource(builder.path), selector: Selector(), root: scratch.path.appending("store"),
            snapshotter: "overlayfs", durability: .none, writableKey: nil)
        let own = try Unpacker(
            request, cancellation: Cancellation(), logger: Logger(label: "test"), onEvent: { _ in }
        ).run()
        let foreign = try applyAsOverlay(Self.layers, isSynced: true)
        for (layer, path) in zip(own.layers, foreign) {
            #expect(try dump(path).text == dump(layer.path).text)
        }
    }

    /// The tree of `--output` with the layers.
    private func plainTree() throws -> FilePath {
        try builder.writeIndex([try builder.image(Self.layers)])
        let path = scratch.path.appending("output")
        let request = UnpackRequest(
            image: ImageSource(builder.path), selector: Selector(), root: scratch.path, snapshotter: "",
            durability: .none, writableKey: nil)
        _ = try TreeOutput(
            request, to: path, cancellation: Cancellation(), logger: Logger(label: "test"),
            onEvent: { _ in }
        ).run()
        return path
    }

    @Test("Layers applied to a bind mount give the plain tree of their image")
    func native() throws {
        let path = try scratch.makeDirectory("native")
        for layer in Self.layers {
            _ = try Differ().apply(
                try builder.layer(layer), from: blobs, onto: bind(path), isSynced: true)
        }
        #expect(try dump(path).text == dump(plainTree()).text)
    }

    @Test(
        "Layers applied to a file system image give the same tree, and the image can be mounted afterwards",
        .enabled(if: TestEnvironment.canMountExt4, "no loop devices, or no mkfs.ext4"))
    func loop() throws {
        let image = scratch.path.appending("image")
        try LoopFileSystem.format(image, type: "ext4", megabytes: 16)
        let mount = ContainerdMount(type: "ext4", source: image.string, options: ["loop", "rw"])
        for layer in Self.layers {
            _ = try Differ().apply(try builder.layer(layer), from: blobs, onto: [mount], isSynced: false)
            #expect(try LoopTable.read().devices(of: image, onlyWriters: false).isEmpty)
        }
        let device = try LoopDevice(of: image, readOnly: true)
        let mounted = try DetachedMount(
            type: "ext4", source: device.path, readOnly: true, options: [("noload", nil)])
        let lines = try TreeDump(of: mounted.root).lines.filter { !$0.hasPrefix("lost+found ") }
        // Includes the root, which the lowest layer lists; otherwise it would keep the metadata of the file system.
        #expect(try lines == dump(plainTree()).lines)
    }

    @Test(
        "With userxattr the marks are in user.overlay.*, and overlayfs reads them",
        .enabled(if: TestEnvironment.canMountOverlay, "no overlay"))
    func userAttributes() throws {
        let paths = try applyAsOverlay(Self.layers, "userxattr")
        #expect(try dump(paths[3]).text.contains(" user.overlay.opaque=79"))
        #expect(try !dump(paths[3]).text.contains("trusted.overlay."))
        let target = try scratch.makeDirectory("merged")
        try MountCalls.overlay(
            options: "userxattr,lowerdir=" + paths.reversed().map(\.string).joined(separator: ":"),
            from: try Directory(opening: scratch.path), on: target, readOnly: true)
        let merged = Result { try dump(target, showsMarks: false) }
        try unmountWhenFree(target)
        #expect(try merged.get().text == dump(plainTree()).text)
    }

    @Test("A root that no entry lists keeps its owner and mode, and gets the time 0")
    func root() throws {
        let path = try scratch.makeDirectory("tree")
        let directory = try Directory(opening: path)
        try directory.file.setOwner(uid: 100_000, gid: 100_001)
        try directory.file.setMode(0o711)
        for layer in [LayerBuilder(), LayerBuilder(.file("a").at(7))] {
            _ = try Differ().apply(try builder.layer(layer), from: blobs, onto: bind(path), isSynced: false)
            #expect(try dump(path).lines[0] == ". d 0711 100000:100001 0.000000000")
        }
        _ = try Differ().apply(
            try builder.layer(LayerBuilder(.directory("./").owned(1, 2).at(9))), from: blobs,
            onto: bind(path),
            isSynced: false)
        #expect(try dump(path).lines[0] == ". d 0755 1:2 9.000000000")
    }

    @Test(
        "No entry inherits a group from a set-group-ID root, in an empty tree or not",
        arguments: [true, false])
    func inheritance(isFirst: Bool) throws {
        let path = try scratch.makeDirectory("tree")
        let root = LayerBuilder([.directory("./", mode: 0o2755).owned(1, 5)] + (isFirst ? [] : [.file("f")]))
        let layers = [root, LayerBuilder(.directory("d"), .file("d/g"), .symlink("l", to: "d"))]
        for layer in layers {
            _ = try Differ().apply(try builder.layer(layer), from: blobs, onto: bind(path), isSynced: false)
        }
        let lines = try dump(path).lines
        #expect(lines[0].hasPrefix(". d 2755 1:5 ") && lines.count > 3)
        #expect(lines.dropFirst().allSatisfy { $0.contains(" 0:0 ") && !$0.contains(" 2") })
    }

    // MARK: Refusals

    private func failure(_ descriptor: Descriptor, _ mounts: [ContainerdMount]) -> DifferFailure? {
        do throws(DifferFailure) {
            _ = try Differ().apply(descriptor, from: blobs, onto: mounts, isSynced: false)
            return nil
        } catch {
            return error
        }
    }

    @Test("A layer that fails leaves an empty directory empty, and another one unchanged")
    func failures() throws {
        let empty = try scratch.makeDirectory("empty")
        let full = try scratch.makeDirectory("full")
        let lower = try scratch.makeDirectory("lower")
        let whole = try builder.layer(Self.layers[0])
        for path in [full, lower] {
            _ = try Differ().apply(whole, from: blobs, onto: bind(path), isSynced: false)
        }
        let before = try dump(full)
        let damaged = try builder.layer(LayerBuilder(Self.layers[0].entries + [.file("more")]))
        try builder.damageBlob(damaged) { $0[$0.count - 1] ^= 1 }
        let refused = try builder.layer(LayerBuilder(Self.layers[0].entries + [.file("d/f/x")]))
        let missing = Descriptor(mediaType: whole.mediaType, digest: sha256(of: [1]), size: 1)
        for wrong in [damaged, refused, missing, whole.withSize(whole.size + 1)] {
            for mounts in [bind(empty), try overlay(empty, over: [lower])] {
                guard case .failed = failure(wrong, mounts) else {
                    Issue.record("\(wrong) on \(mounts)")
                    continue
                }
                #expect(try Directory(opening: empty).names().isEmpty)
            }
            for mounts in [bind(full), try overlay(full, over: [lower])] {
                guard case .failed = failure(wrong, mounts) else {
                    Issue.record("\(wrong) on \(mounts)")
                    continue
                }
                #expect(try dump(full) == before)
            }
        }
    }

    @Test("A read-only mount is refused before anything is read")
    func readOnly() throws {
        let path = try scratch.makeDirectory("tree")
        let missing = Descriptor(mediaType: Packing.gzip.mediaType, digest: sha256(of: [1]), size: 1)
        let views = [
            bind(path, "ro"),
            [ContainerdMount(type: "overlay", source: "overlay", options: ["lowerdir=\(path):\(path)"])],
        ]
        for view in views {
            guard case .failedPrecondition = failure(missing, view) else {
                Issue.record("\(view)")
                continue
            }
        }
        guard case .invalidArgument = failure(missing, []) else {
            Issue.record("no mounts")
            return
        }
    }

    @Test(
        "A media type that is not a layer tar is unsupported",
        arguments: [
            "application/vnd.oci.image.layer.v1.tar+gzip+encrypted", "application/vnd.erofs.layer.v1",
            "application/vnd.oci.image.layer.v1.tar+xz", "",
        ])
    func mediaTypes(type: String) throws {
        let path = try scratch.makeDirectory("tree")
        let descriptor = Descriptor(
            mediaType: MediaType(rawValue: type), digest: sha256(of: [1]), size: 1)
        guard case .unsupported = failure(descriptor, bind(path)) else {
            Issue.record("\(type)")
            return
        }
    }

    @Test("Docker's media types are accepted, and the compression is detected from the content")
    func dockerTypes() throws {
        for (number, type) in ["rootfs.diff.tar.gzip", "rootfs.foreign.diff.tar", "rootfs.diff.tar.zstd"]
            .enumerated()
        {
            let path = try scratch.makeDirectory("\(number)")
            let blob = try builder.layer(Self.layers[0], .gzip)
            let descriptor = Descriptor(
                mediaType: MediaType(rawValue: "application/vnd.docker.image." + type), digest: blob.digest,
                size: blob.size)
            let found = try Differ().apply(descriptor, from: blobs, onto: bind(path), isSynced: false)
            #expect(found.content.diffID == Self.layers[0].diffID)
        }
    }

    // MARK: The server's own store

    /// A store with a verified layer, an active snapshot of a user and one of a client.
    private struct Store {
        let store: SnapshotStore
        let service: ServiceSnapshots
        let folder: FilePath

        init(in scratch: FilePath, _ snapshotter: String = "overlayfs") throws {
            store = try SnapshotStore(
                opening: scratch.appending("store"), snapshotter: snapshotter, boot: "b", clock: { 0 })
            folder = scratch.appending("store").appending(snapshotter)
            let run = try store.startRun()
            service = try ServiceSnapshots("unpack", of: store, in: run)
            let layer = try store.prepareLayer("layer", parent: nil, in: run)
            try layer.directory.makeDirectory(FileName(literal: "usr"), mode: 0o755)
            try store.commit(
                layer, as: ChainID(OCI.Digest(.sha256, bytes: [UInt8](repeating: 1, count: 32))), onto: nil,
                isRecorded: false, in: run)
            try store.prepare("user", in: run)
            _ = try service.prepare("client", parent: nil, labels: [:])
        }

        var differ: Differ { Differ(protecting: [store]) }
    }

    private func isRefused(_ mounts: [ContainerdMount], by differ: Differ) throws -> Bool {
        let layer = try builder.layer(LayerBuilder(.file("evil", "!")))
        do {
            _ = try differ.apply(layer, from: blobs, onto: mounts, isSynced: false)
            return false
        } catch DifferFailure.failedPrecondition {
            return true
        }
    }

    @Test(
        "A layer is not applied in or above a store, whatever path leads there, except to a client's active snapshot"
    )
    func storesOwn() throws {
        let store = try Store(in: scratch.path)
        let (folder, root) = (store.folder, store.folder.removingLastComponent())
        try Command.run(
            "sh", "-ec",
            "ln -s \(folder)/1/fs link; ln -s \(scratch.path) above; mkdir bound lower; mount --bind \(folder)/1/fs/usr bound",
            in: scratch.path
        ).succeed()
        defer { try? unmountWhenFree(scratch.path.appending("bound")) }
        let before = try dump(folder.appending("1"))
        for place in [
            "\(folder)/1/fs", "\(folder)/1/fs/usr", "\(folder)/1", "\(folder)/2/fs", "\(folder)", "\(root)",
            // Here a client could replace the tree of its own snapshot with a symlink.
            "\(folder)/3", "\(folder)/3/work",
            "\(root)/runs", "\(root.removingLastComponent())", "/", "\(scratch.path)/link",
            "\(scratch.path)/above/store/overlayfs/1/fs", "\(folder)/../overlayfs/./1//fs",
            "\(scratch.path)/bound",
        ] {
            let path = FilePath(place)
            #expect(try isRefused(bind(path), by: store.differ), "\(place)")
            // Overlay refuses directories that contain each other, but the check comes first.
            let work = "workdir=\(scratch.path)/work", lower = "lowerdir=\(scratch.path)/lower"
            let overlay = ContainerdMount(
                type: "overlay", source: "overlay", options: [work, lower, "upperdir=\(place)"])
            #expect(try isRefused([overlay], by: store.differ), "upperdir \(place)")
        }
        #expect(try dump(folder.appending("1")) == before)
        #expect(try FilePath("/evil").exists() == false)
        #expect(try !isRefused(bind(folder.appending("3/fs")), by: store.differ))
        #expect(try folder.appending("3/fs/evil").exists())
        // After the commit the snapshot is refused too.
        try store.service.commit("client", as: "name", onto: nil, labels: [:])
        #expect(try isRefused(bind(folder.appending("3/fs")), by: store.differ))
    }

    @Test(
        "A layer is not applied to a file system that contains a store, or to an image file of a store",
        .enabled(
            if: TestEnvironment.canMountBtrfs && TestEnvironment.canMountExt4,
            "no loop devices, btrfs or ext4"))
    func storesFileSystem() throws {
        let btrfs = try LoopFileSystem(type: "btrfs", megabytes: 200)
        let store = try Store(in: btrfs.path, "btrfs")
        func mount(_ snapshot: String) throws -> ContainerdMount {
            ContainerdMount(try #require(try store.store.readOnlyMounts(of: snapshot).first))
        }
        let client = try #require(try store.service.mounts(of: "client").first)
        #expect(try !isRefused([ContainerdMount(client)], by: store.differ))
        let device = ContainerdMount(client).source
        for options in [[], ["subvolid=5"], ["subvol=/"]] {
            let whole = ContainerdMount(type: "btrfs", source: device, options: options)
            #expect(try isRefused([whole], by: store.differ), "\(options)")
        }
        let user = try #require(try store.store.mounts(of: "user").first)
        #expect(try isRefused([ContainerdMount(user)], by: store.differ))

        let ext4 = try LoopFileSystem(type: "ext4", megabytes: 64)
        let other = try Store(in: ext4.path)
        let source = try #require(
            try Command.run("findmnt", "-no", "SOURCE", ext4.path.string).succeed().text.split(
                separator: "\n"
            ).first)
        let same = ContainerdMount(type: "ext4", source: String(source), options: [])
        #expect(try isRefused([same], by: other.differ))

        // The directory of a snapshotter may be a separate file system.
        let apart = try TemporaryDirectory(in: scratch.path)
        _ = try apart.makeDirectory("store/overlayfs")
        try Command.run(
            "mount", "-t", "tmpfs", "-o", "mode=0700", "unpack",
            apart.path.appending("store/overlayfs").string
        ).succeed()
        defer { _ = try? Command.run("umount", "-l", apart.path.appending("store/overlayfs").string) }
        let split = try Store(in: apart.path)
        for place in ["1/fs", "1", ".", "2/fs"] {
            #expect(try isRefused(bind(split.folder.appending(place)), by: split.differ), "\(place)")
        }
        #expect(try !isRefused(bind(split.folder.appending("3/fs")), by: split.differ))

        let loops = try Store(in: scratch.path, "loop")
        let image = ContainerdMount(type: "ext4", source: "\(loops.folder)/1/image", options: ["loop"])
        #expect(try isRefused([image], by: loops.differ))
        let linked = scratch.path.appending("linked").string
        try Command.run("ln", "\(loops.folder)/1/image", linked).succeed()
        let hardLink = ContainerdMount(type: "ext4", source: linked, options: ["loop"])
        #expect(try isRefused([hardLink], by: loops.differ))
        try Command.run("rm", linked).succeed()
        let active = try #require(try loops.service.mounts(of: "client").first)
        #expect(try !isRefused([ContainerdMount(active)], by: loops.differ))
    }

    @Test(
        "The image file that was checked is the one that is written to, even if its path is replaced",
        .enabled(if: TestEnvironment.canMountExt4, "no loop devices, or no mkfs.ext4"))
    func swappedImage() throws {
        let loops = try Store(in: scratch.path, "loop")
        let (own, verified) = ("\(loops.folder)/3/image", "\(loops.folder)/1/image")
        // Compares the time and the blocks, because the file is sparse and larger than the memory.
        func written() throws -> String { try Command.run("stat", "-c", "%y %b", verified).succeed().text }
        let before = try written()
        let swap = try RunningCommand(
            ["sh", "-c", "while :; do ln -sfn \(own) link; ln -sfn \(verified) link; done"], in: scratch.path)
        defer { swap.kill() }
        while try !scratch.path.appending("link").exists() { Process.sleep(milliseconds: 1) }
        let link = ContainerdMount(
            type: "ext4", source: scratch.path.appending("link").string, options: ["loop"])
        let layer = try builder.layer(LayerBuilder(.file("evil", "!")))
        for _ in 0..<15 {
            _ = try? loops.differ.apply(layer, from: blobs, onto: [link], isSynced: true)
        }
        #expect(try written() == before)
    }

    @Test("A layer of at most 4096 levels is applied, a deeper one is refused", arguments: [4090, 4097])
    func deep(levels: Int) throws {
        let path = (0..<levels).map { _ in "d" }.joined(separator: "/") + "/f"
        let layer = try builder.layer(LayerBuilder(.file(Bytes(path), "x")))
        let target = try scratch.makeDirectory("deep")
        let applied = Result { try Differ().apply(layer, from: blobs, onto: bind(target), isSynced: false) }
        #expect(((try? applied.get()) != nil) == (levels <= 4096), "\(applied)")
    }
}
