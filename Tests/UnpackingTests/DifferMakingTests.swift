import Foundation
import Kernel
import Layers
import Layout
import Mounts
import OCI
import Streams
import SystemPackage
import TestSupport
import Testing
import Unpacking

/// Changes the tree in `$1`, which `original` has made.
private let changes = """
    set -e
    cd "$1"
    echo changed >> d/file; chmod 600 d/mode; chown 7:8 d/owner; touch -d @99.5 d/time
    setfattr -n user.k -v w d/attribute; ln -sfn elsewhere d/link
    rm -r gone; rm d/away; rm -r dir-to-file; echo file > dir-to-file
    rm file-to-dir; mkdir file-to-dir; echo in > file-to-dir/in
    rm -r again; mkdir again; echo new > again/new
    ln d/file other-name; ln links/one links/three; mv moved d/moved
    mknod d/device c 5 1; mkfifo d/fifo; touch "$(printf 'd/\\\\377 odd\\\\n')"
    truncate -s 3M d/sparse; echo x >> deep/1/2/3/4/f; mkdir empty; chmod 2711 only-mode
    """

private let original = """
    set -e
    cd "$1"
    mkdir -p d gone/x dir-to-file/y again/old links deep/1/2/3/4 only-mode kept/in
    for f in file mode owner time attribute away; do echo $f > d/$f; done
    for f in moved file-to-dir gone/x/f dir-to-file/y/f again/old/f deep/1/2/3/4/f kept/in/f; do echo $f > $f; done
    ln -s target d/link; setfattr -n user.k -v v d/attribute; echo l > links/one; ln links/one links/two
    """

@Suite(
    "Making layers from mounts of containerd",
    .enabled(
        if: TestEnvironment.canApplyLayers && TestEnvironment.canMountOverlay
            && TestEnvironment.has("setfattr"),
        "no directory that supports all metadata, no overlay mounts, or no setfattr"))
struct DifferMakingTests {
    private let scratch: TemporaryDirectory

    init() throws {
        Process.setUp()
        scratch = try TemporaryDirectory(in: try #require(TestEnvironment.scratch))
    }

    private func run(_ script: String, _ path: FilePath) throws {
        try Command.run("bash", "-c", script, "bash", path.string).succeed()
    }

    private func bind(_ path: FilePath, _ access: String = "ro") -> [ContainerdMount] {
        [ContainerdMount(type: "bind", source: path.string, options: ["rbind", access])]
    }

    private func overlay(_ upper: FilePath, over lower: FilePath) -> [ContainerdMount] {
        let options = ["workdir=\(scratch.path)/work", "upperdir=\(upper)", "lowerdir=\(lower)", "index=off"]
        return [ContainerdMount(type: "overlay", source: "overlay", options: options)]
    }

    private func make(
        _ old: [ContainerdMount], _ new: [ContainerdMount],
        _ mediaType: MediaType = .ociLayer(compression: nil),
        latest: Timestamp? = nil
    ) throws -> (layer: WrittenLayer, blob: [UInt8]) {
        var blob = [UInt8]()
        let layer = try Differ().makeLayer(from: old, to: new, as: mediaType, latest: latest) {
            $0.withUnsafeBytes { blob += $0 }
        }
        return (layer, blob)
    }

    private func dump(_ path: FilePath) throws -> TreeDump { try TreeDump(of: Directory(opening: path)) }

    /// Runs `body` with the path of an overlay that the kernel has mounted.
    private func withMounted<Result>(
        _ upper: FilePath, over lower: FilePath, _ body: (FilePath) throws -> Result
    ) throws -> Result {
        let target = try scratch.makeDirectory("mounted")
        let work = try scratch.makeDirectory("work")
        try MountCalls.overlay(
            options:
                "upperdir=\(upper),workdir=\(work),lowerdir=\(lower),index=off,redirect_dir=off,metacopy=off",
            from: try Directory(opening: scratch.path), on: target, readOnly: false)
        let result = Swift.Result { try body(target) }
        try unmountWhenFree(target)
        return try result.get()
    }

    private func apply(_ layer: WrittenLayer, _ blob: [UInt8], onto mounts: [ContainerdMount]) throws {
        let builder = try ImageBuilder(
            at: scratch.path.appending("layout-\(UInt32.random(in: .min ... .max))"))
        try builder.blob(blob, layer.descriptor.mediaType)
        let blobs = BlobDirectory(try Directory(opening: builder.path.appending("blobs")))
        let found = try Differ().apply(layer.descriptor, from: blobs, onto: mounts, isSynced: false)
        #expect(found.diffID == layer.content.diffID)
        #expect(found.size == layer.content.size)
    }

    /// A lower tree, the upper directory with a container's changes, written by the kernel, and the merged tree.
    private func container() throws -> (lower: FilePath, upper: FilePath, merged: TreeDump) {
        let (lower, upper) = (try scratch.makeDirectory("lower"), try scratch.makeDirectory("upper"))
        try run(original, lower)
        let merged = try withMounted(upper, over: lower) { path in
            try run(changes, path)
            return try dump(path)
        }
        return (lower, upper, merged)
    }

    /// A container may write to its tree while it is read. /dev/zero represents a disk of the host.
    @Test("A file that is exchanged with a device while the tree is read yields no bytes of the device")
    func swappedNames() throws {
        let tree = try scratch.makeDirectory("tree")
        let content = [UInt8](repeating: UInt8(ascii: "x"), count: 4096)
        try scratch.write("tree/f", content)
        try run("mknod $1/zero c 1 5", tree)
        let directory = try Directory(opening: tree)
        let (file, device) = (FileName(literal: "f"), FileName(literal: "zero"))
        let isOver = Promise<Void>()
        let swapper = try WorkerThread {
            while isOver.value == nil { try directory.exchange(file, device) }
        }
        var layers = 0
        for _ in 0..<300 {
            let made = Result { try make([], bind(tree)) }
            if case .failure(DifferFailure.failed(let error)) = made {
                #expect(error.message.contains("was replaced while the tree was read"), "\(error.message)")
                continue
            }
            let blob = try made.get().blob
            layers += 1
            // An entry of a regular file has the content, and one of a device has none.
            for name in ["f", "zero"] {
                let headers = blob.ranges(of: Array(name.utf8) + [0]).map(\.lowerBound)
                let start = try #require(headers.first { $0 % 512 == 0 })
                if blob[start + 156] == UInt8(ascii: "0") {
                    #expect(blob[(start + 512)..<(start + 512 + content.count)] == content[...])
                }
            }
        }
        isOver.fulfil(())
        try swapper.join()
        #expect(layers > 0)
    }

    @Test(
        "The changes of a container become a layer that gives the same tree on the layers below",
        arguments: [nil, "gzip", "zstd"])
    func commits(compression: String?) throws {
        let (lower, upper, merged) = try container()
        let type = MediaType.ociLayer(compression: compression)
        let (layer, blob) = try make(bind(lower), overlay(upper, over: lower), type)
        #expect(
            layer.descriptor == Descriptor(mediaType: type, digest: sha256(of: blob), size: Int64(blob.count))
        )

        let snapshot = try scratch.makeDirectory("snapshot")
        try apply(layer, blob, onto: overlay(snapshot, over: lower))
        #expect(try withMounted(snapshot, over: lower) { try dump($0).text } == merged.text)

        try apply(layer, blob, onto: bind(lower, "rw"))
        #expect(try dump(lower).text == merged.text)
    }

    @Test("Two merged trees give a layer that turns one into the other, with the same bytes each time")
    func wholeTrees() throws {
        let (lower, upper, merged) = try container()
        let whole = scratch.path.appending("whole")
        try withMounted(upper, over: lower) {
            _ = try Command.run("cp", "-a", $0.string, whole.string).succeed()
        }
        let (layer, blob) = try make(bind(lower), bind(whole))
        #expect(try make(bind(lower), bind(whole)).blob == blob)
        let other = scratch.path.appending("other")
        try Command.run("cp", "-a", "--sparse=never", whole.string, other.string).succeed()
        #expect(try make(bind(lower), bind(other)).blob == blob)
        try apply(layer, blob, onto: bind(lower, "rw"))
        #expect(try dump(lower).text == merged.text)
    }

    @Test("Without an old tree the layer has the whole tree, and equal trees give an empty layer")
    func extremes() throws {
        let lower = try scratch.makeDirectory("lower")
        try run(original, lower)
        let (layer, blob) = try make([], bind(lower))
        let copy = try scratch.makeDirectory("copy")
        try apply(layer, blob, onto: bind(copy, "rw"))
        #expect(try dump(copy).text == dump(lower).text)
        // Attributes of the host, which no layer contains.
        for name in ["trusted.overlay.origin", "trusted.test"] {
            let attribute = AttributeName(literal: name)
            try Directory(opening: copy).setExtendedAttribute(attribute, [1], of: FileName(literal: "moved"))
            try Directory(opening: copy).file.setExtendedAttribute(attribute, [1])
        }
        #expect(try make(bind(lower), bind(lower)).blob == [UInt8](repeating: 0, count: 1024))
        #expect(try make(bind(lower), bind(copy)).blob == [UInt8](repeating: 0, count: 1024))
        #expect(try make(bind(copy), bind(lower)).blob == [UInt8](repeating: 0, count: 1024))
    }

    @Test("No entry is newer than SOURCE_DATE_EPOCH, and whiteouts have that time or 0")
    func times() throws {
        let (lower, upper, _) = try container()
        let latest = Timestamp(seconds: 50, nanoseconds: 0)
        let (layer, blob) = try make(bind(lower), overlay(upper, over: lower), latest: latest)
        let archive = try scratch.write("layer.tar", blob)
        let list = try Command.run("tar", "--utc", "--full-time", "-tvf", archive.string).succeed().text
        let lines = list.split(separator: "\n")
        #expect(lines.count > 20 && lines.allSatisfy { $0.contains(" 1970-01-01 00:00:50 ") })
        let (_, plain) = try make(bind(lower), overlay(upper, over: lower))
        let path = try scratch.write("plain.tar", plain)
        let whiteouts = try Command.run("tar", "--utc", "--full-time", "-tvf", path.string).succeed().text
            .split(separator: "\n").filter { $0.contains(".wh.") }
        #expect(
            whiteouts.count == 4
                && whiteouts.allSatisfy { $0.contains(" 0/0 ") || $0.contains(" root/root ") })
        #expect(whiteouts.allSatisfy { $0.contains(" 1970-01-01 00:00:00 ") && $0.hasPrefix("---------- ") })
        #expect(layer.content.size == Int64(blob.count))
    }

    @Test(
        "tar and bsdtar list the layer, and its entries are in the order of their names",
        arguments: ["tar", "bsdtar"])
    func listed(program: String) throws {
        guard TestEnvironment.has(program) else { return }
        let (lower, upper, _) = try container()
        let (_, blob) = try make(bind(lower), overlay(upper, over: lower))
        let archive = try scratch.write("layer.tar", blob)
        let names = try Command.run(program, "-tf", archive.string).succeed().text.split(separator: "\n")
            .map(String.init).filter { !$0.contains("odd") }
        #expect(
            names == [
                "./", "again/", "again/new", "again/.wh.old", "d/", "d/attribute", "d/.wh.away", "d/device",
                "d/fifo",
                "d/file", "d/link", "d/mode", "d/moved", "d/owner", "d/sparse", "d/time", "deep/", "deep/1/",
                "deep/1/2/", "deep/1/2/3/", "deep/1/2/3/4/", "deep/1/2/3/4/f", "dir-to-file", "empty/",
                // Of a hard-link group, the first changed name is the file: `links/three` is new.
                "file-to-dir/", "file-to-dir/in", ".wh.gone", "links/", "links/three", "links/one",
                ".wh.moved",
                "only-mode/", "other-name",
            ], "\(names)")
    }

    @Test(
        "A file system image is read without a mount that other processes see",
        .enabled(if: TestEnvironment.canMountExt4, "no loop devices, or no mkfs.ext4"))
    func fileSystems() throws {
        let (lower, upper, merged) = try container()
        let image = scratch.path.appending("image")
        try LoopFileSystem.format(image, type: "ext4", megabytes: 32)
        let mounts = [ContainerdMount(type: "ext4", source: image.string, options: ["loop"])]
        let (base, baseBlob) = try make([], bind(lower))
        try apply(base, baseBlob, onto: mounts)
        let (layer, blob) = try make(bind(lower), overlay(upper, over: lower))
        try apply(layer, blob, onto: mounts)
        let (back, backBlob) = try make(bind(lower), mounts)
        let snapshot = try scratch.makeDirectory("snapshot")
        try apply(back, backBlob, onto: overlay(snapshot, over: lower))
        let lines = try withMounted(snapshot, over: lower) { try dump($0).lines }
        #expect(lines.filter { !$0.hasPrefix("lost+found ") } == merged.lines)
        #expect(try LoopTable.read().devices(of: image, onlyWriters: false).isEmpty)
    }

    @Test(
        "umoci unpacks such layers to the tree that they were made from",
        .enabled(if: TestEnvironment.has("umoci"), "umoci is not installed"))
    func secondOpinion() throws {
        let (lower, upper, merged) = try container()
        let builder = try ImageBuilder(at: scratch.path.appending("layout"))
        let layers = [
            try make([], bind(lower)),
            try make(bind(lower), overlay(upper, over: lower), .ociLayer(compression: "gzip")),
        ]
        for (layer, blob) in layers { try builder.blob(blob, layer.descriptor.mediaType) }
        let config = try builder.config(.host, layers.map(\.layer.content.diffID))
        try builder.writeIndex([
            try builder.manifest(config, layers.map(\.layer.descriptor)).named("it")
        ])
        let root = scratch.path.appending("rootfs")
        try Command.run("umoci", "raw", "unpack", "--image", "\(builder.path):it", root.string).succeed()
        #expect(try dump(root).text == merged.text)
    }

    // MARK: Failures

    @Test("An error of the output is returned to the caller")
    func brokenPipe() throws {
        struct Broken: Error {}
        let lower = try scratch.makeDirectory("lower")
        try run(original, lower)
        do throws(DifferFailure) {
            _ = try Differ().makeLayer(from: [], to: bind(lower), as: .ociLayer(compression: "gzip")) { _ in
                throw Broken()
            }
            Issue.record("nothing was thrown")
        } catch {
            guard case .output(let cause) = error, cause is Broken else {
                Issue.record("\(error)")
                return
            }
        }
    }

    @Test("Cancellation ends the making and the applying of a layer")
    func cancelled() throws {
        let lower = try scratch.makeDirectory("lower")
        try run(original, lower)
        let cancellation = Cancellation()
        cancellation.cancel(signal: 15)
        let (layer, blob) = try make([], bind(lower))
        let builder = try ImageBuilder(at: scratch.path.appending("layout"))
        try builder.blob(blob, layer.descriptor.mediaType)
        let blobs = BlobDirectory(try Directory(opening: builder.path.appending("blobs")))
        let target = try scratch.makeDirectory("target")
        for attempt in 1...2 {
            do throws(DifferFailure) {
                if attempt == 1 {
                    _ = try Differ().makeLayer(
                        from: [], to: bind(lower), as: .ociLayer(compression: nil), cancellation: cancellation
                    ) { _ in }
                } else {
                    _ = try Differ().apply(
                        layer.descriptor, from: blobs, onto: bind(target, "rw"), isSynced: false,
                        cancellation: cancellation)
                }
                Issue.record("nothing was thrown")
            } catch {
                guard case .failed(let cause) = error, cause.code == .interrupted(15) else {
                    Issue.record("\(error)")
                    continue
                }
            }
        }
        #expect(try Directory(opening: target).names().isEmpty)
    }

    private func failure(_ old: [ContainerdMount], _ new: [ContainerdMount], _ type: String) -> DifferFailure?
    {
        do throws(DifferFailure) {
            _ = try Differ().makeLayer(from: old, to: new, as: MediaType(rawValue: type)) { _ in }
            return nil
        } catch {
            return error
        }
    }

    @Test("Media types and overlays that only other programs support are unsupported")
    func unsupported() throws {
        let (lower, upper, _) = try container()
        let tar = MediaType.ociLayer(compression: nil).rawValue
        for type in ["", "application/vnd.erofs.layer.v1", tar + "+xz", tar + "+gzip+encrypted"] {
            guard case .unsupported = failure(bind(lower), bind(upper), type) else {
                Issue.record("\(type)")
                continue
            }
        }
        try Directory(opening: upper.appending("d")).file.setExtendedAttribute(
            AttributeName(literal: "trusted.overlay.redirect"), Array("elsewhere".utf8))
        guard case .unsupported = failure(bind(lower), overlay(upper, over: lower), tar) else {
            Issue.record("redirect")
            return
        }
    }

    @Test("A name that a layer cannot contain is refused, and a socket is omitted")
    func names() throws {
        let lower = try scratch.makeDirectory("lower")
        let upper = try scratch.makeDirectory("upper")
        let folder = try Directory(opening: upper)
        try folder.makeNode(FileName(literal: "socket"), .socket, mode: 0o600)
        let tar = MediaType.ociLayer(compression: nil).rawValue
        #expect(failure(bind(lower), bind(upper), tar) == nil)
        _ = try folder.createFile(FileName(literal: ".wh.x"), mode: 0o600)
        guard case .failed(let error) = failure(bind(lower), bind(upper), tar) else {
            Issue.record("a whiteout's name")
            return
        }
        #expect(error.code == .data && error.message.contains(".wh.x"))
    }

    @Test("A removed file is hidden, whatever the length of its name", arguments: [251, 252, 255])
    func longNames(length: Int) throws {
        let lower = try scratch.makeDirectory("lower")
        let upper = try scratch.makeDirectory("upper")
        let name = FileName(literal: String(repeating: "n", count: length))
        _ = try Directory(opening: lower).createFile(name, mode: 0o600)
        let (layer, blob) = try make(bind(lower), bind(upper))
        try apply(layer, blob, onto: bind(lower, "rw"))
        #expect(try Directory(opening: lower).names().isEmpty)
    }
}
