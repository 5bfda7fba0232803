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
    "Applying layers to mounts of containerd",
    .enabled(if: TestEnvironment.canApplyLayers, "no directory that supports all metadata"))
struct DifferApplyTests: DifferApplySuite {
    let scratch: TemporaryDirectory
    let builder: ImageBuilder
    let blobs: BlobDirectory

    init() throws { (scratch, builder, blobs) = try Self.makeScratch() }

    // MARK: Mounts of containerd's snapshotters

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
            #expect(found.diffID == layer.diffID)
            #expect(found.size == Int64(layer.tar.count))
            paths.append(path)
        }
        return paths
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
            #expect(found.diffID == Self.layers[0].diffID)
        }
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
