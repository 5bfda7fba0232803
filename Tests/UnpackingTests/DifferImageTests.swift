import Foundation
import Kernel
import Layers
import Layout
import Logging
import Mounts
import OCI
import Snapshots
import SystemPackage
import TestSupport
import Testing
import Unpacking

@Suite(
    "Layers applied to a store of EROFS images",
    .enabled(if: TestEnvironment.canApplyLayers && TestEnvironment.canMountErofs, "needs root and EROFS"))
struct DifferImageTests: DifferApplySuite {
    let scratch: TemporaryDirectory
    let builder: ImageBuilder
    let blobs: BlobDirectory

    init() throws { (scratch, builder, blobs) = try Self.makeScratch() }

    /// A store with a client. The mounts of its layers end with it.
    private final class Store {
        let store: SnapshotStore
        let service: ServiceSnapshots
        let folder: FilePath

        init(in scratch: FilePath) throws {
            store = try SnapshotStore(
                opening: scratch.appending("store"), snapshotter: "erofs", boot: "b", clock: { 0 })
            folder = scratch.appending("store").appending("erofs")
            service = try ServiceSnapshots("unpack", of: store, in: try store.startRun())
        }

        deinit {
            for name in (try? Directory(opening: folder).names()) ?? [] {
                let place = folder.appending(name.description).appending("fs")
                _ = try? Command.run("umount", "-q", place.string)
            }
        }

        var differ: Differ { Differ(protecting: [store]) }

        func mounts(of key: String) throws -> [ContainerdMount] {
            try service.mounts(of: key).map(ContainerdMount.init)
        }

        func names(in id: Int) throws -> Set<String> {
            Set(try Directory(opening: folder.appending("\(id)")).names().map(\.description))
        }
    }

    @Test("An applied layer becomes the image that 'unpack' writes, byte by byte", arguments: [false, true])
    func sameImages(isSynced: Bool) throws {
        try builder.writeIndex([try builder.image(Self.layers)])
        let request = UnpackRequest(
            image: ImageSource(builder.path), selector: Selector(), root: scratch.path.appending("own"),
            snapshotter: "erofs",
            durability: .none, writableKey: nil)
        _ = try Unpacker(
            request, cancellation: Cancellation(), logger: Logger(label: "test"), onEvent: { _ in }
        ).run()
        let store = try Store(in: scratch.path)
        for (index, layer) in Self.layers.enumerated() {
            let key = "active-\(index)"
            _ = try store.service.prepare(key, parent: index > 0 ? "layer-\(index - 1)" : nil, labels: [:])
            let found = try store.differ.apply(
                try builder.layer(layer), from: blobs, onto: try store.mounts(of: key), isSynced: isSynced)
            #expect(found.diffID == layer.diffID && found.size == Int64(layer.tar.count))
            #expect(try store.service.usage(of: key).inodes == 2)
            try store.service.commit(key, as: "layer-\(index)", onto: nil, labels: [:])
            #expect(try store.names(in: index + 1) == ["fs", "layer.erofs"])
            let images = try [store.folder, scratch.path.appending("own/erofs")].map {
                try File.contents(of: $0.appending("\(index + 1)").appending("layer.erofs"))
            }
            #expect(images[0] == images[1], "layer \(index)")
        }
    }

    @Test("A layer is applied once, and to a snapshot without other changes")
    func refusals() throws {
        let store = try Store(in: scratch.path)
        _ = try store.service.prepare("active", parent: nil, labels: [:])
        let (layer, other) = (try builder.layer(Self.layers[0]), try builder.layer(Self.layers[1]))
        let mounts = try store.mounts(of: "active")
        _ = try store.differ.apply(layer, from: blobs, onto: mounts, isSynced: false)
        #expect(throws: DifferFailure.self) {
            _ = try store.differ.apply(other, from: blobs, onto: mounts, isSynced: false)
        }
        let upper = try Directory(opening: store.folder.appending("1/fs"))
        _ = try upper.createFile(FileName(literal: "change"), mode: 0o600)
        #expect(throws: StoreFailure.self) {
            try store.service.commit("active", as: "layer", onto: nil, labels: [:])
        }
        try upper.removeFile(FileName(literal: "change"))
        // Changes through a mount that exists would be lost.
        let bound = try scratch.makeDirectory("bound")
        try Command.run("mount", "--bind", store.folder.appending("1/fs").string, bound.string).succeed()
        #expect(throws: StoreFailure.self) {
            try store.service.commit("active", as: "layer", onto: nil, labels: [:])
        }
        try unmountWhenFree(bound)
        try store.service.commit("active", as: "layer", onto: nil, labels: [:])
        #expect(try store.names(in: 1) == ["fs", "layer.erofs"])
        // The snapshot of a layer that was changed first gets the layer among its files.
        _ = try store.service.prepare("changed", parent: "layer", labels: [:])
        let changed = try Directory(opening: store.folder.appending("2/fs"))
        _ = try changed.createFile(FileName(literal: "change"), mode: 0o600)
        _ = try store.differ.apply(other, from: blobs, onto: try store.mounts(of: "changed"), isSynced: false)
        #expect(
            try changed.status(of: FileName(literal: "change")) != nil
                && changed.open(FileName(literal: "d")).status(of: FileName(literal: "through")) != nil)
    }

    @Test("An invalid layer leaves nothing, and a valid one can be applied after it")
    func invalid() throws {
        let store = try Store(in: scratch.path)
        _ = try store.service.prepare("active", parent: nil, labels: [:])
        let mounts = try store.mounts(of: "active")
        let before = try store.names(in: 1)
        let bad = try builder.layer(LayerBuilder(.file("a", "1"), .hardLink("b", to: "missing")))
        #expect(throws: DifferFailure.self) {
            _ = try store.differ.apply(bad, from: blobs, onto: mounts, isSynced: false)
        }
        #expect(try store.names(in: 1) == before)
        _ = try store.differ.apply(
            try builder.layer(Self.layers[0]), from: blobs, onto: mounts, isSynced: false)
        try store.service.commit("active", as: "layer", onto: nil, labels: [:])
    }
}
