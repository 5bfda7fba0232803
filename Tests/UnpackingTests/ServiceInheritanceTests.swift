import Kernel
import Layout
import Mounts
import OCI
import Snapshots
import SystemPackage
import TestSupport
import Testing
import Unpacking

/// Snapshots of a service, and layers that are applied to their mounts, as containerd uses them.
@Suite(
    "Inheritance from the directory above a service's store", .serialized,
    .enabled(
        if: TestEnvironment.canMountOverlay && TestEnvironment.has("setfacl"),
        "it needs root, overlay mounts and setfacl"))
struct ServiceInheritanceTests {
    private static let layers = [
        LayerBuilder(
            .file("f", "1"), .file("su", "#!").mode(0o6755), .symlink("l", to: "f"), .fifo("p"),
            .character("null", 1, 3), .directory("d"), .file("d/f").owned(1, 2)),
        LayerBuilder(.file("implicit/f", "2"), .whiteout("d/f"), .hardLink("h", to: "su").mode(0o6755)),
    ]

    private static let stores = TestFileSystem.available.flatMap { system in
        ["overlayfs", "native", "btrfs"].filter { $0 != "btrfs" || system == .btrfs }.map { (system, $0) }
    }

    @Test(
        "Layers that a client applies inherit nothing from the directory above the store", arguments: stores)
    private func applied(system: TestFileSystem, snapshotter: String) throws {
        Process.setUp()
        try system.with { place in
            let builder = try ImageBuilder(at: place.appending("layout"))
            let blobs = BlobDirectory(try Directory(opening: builder.path.appending("blobs")))
            func trees(_ root: FilePath) throws -> [String] {
                let store = try SnapshotStore(
                    opening: root, snapshotter: snapshotter, boot: "b", clock: { 0 })
                let service = try ServiceSnapshots("unpack", of: store, in: try store.startRun())
                var lines = [String]()
                var parent: String?
                for (number, layer) in Self.layers.enumerated() {
                    let mounts = try service.prepare("key \(number)", parent: parent, labels: [:])
                    _ = try Differ(protecting: [store]).apply(
                        try builder.layer(layer), from: blobs, onto: mounts.map { ContainerdMount($0) },
                        isSynced: false)
                    parent = "layer \(number)"
                    try service.commit("key \(number)", as: "layer \(number)", onto: nil, labels: [:])
                    lines += try dump(root.appending("\(snapshotter)/\(number + 1)/fs"))
                }
                _ = try service.view("view", parent: parent, labels: [:])
                _ = try service.prepare("top", parent: parent, labels: [:])
                return lines + (try dump(root.appending("\(snapshotter)/4/fs")))
            }
            let hostile = place.appending("hostile")
            try InheritingDirectory.make(hostile)
            let (found, expected) = (try trees(hostile), try trees(place.appending("plain")))
            #expect(found == expected)
        }
    }

    private func dump(_ path: FilePath) throws -> [String] {
        try TreeDump(of: try Directory(opening: path), showsMarks: true).lines.filter {
            !$0.contains("trusted.overlay.uuid=")
        }
    }
}
