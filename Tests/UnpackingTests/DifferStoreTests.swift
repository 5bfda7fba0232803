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
    "Layers and the server's own store",
    .enabled(if: TestEnvironment.canApplyLayers, "no directory that supports all metadata"))
struct DifferStoreTests: DifferApplySuite {
    let scratch: TemporaryDirectory
    let builder: ImageBuilder
    let blobs: BlobDirectory

    init() throws { (scratch, builder, blobs) = try Self.makeScratch() }

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
}
