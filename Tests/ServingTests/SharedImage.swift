import Foundation
import OCI
import SystemPackage
import TestSupport

/// An image that every containerd can unpack, with a shell, and with layers that change and remove files of lower ones.
struct SharedImage {
    /// A tar archive of the layout.
    let archive: FilePath
    let layout: FilePath
    /// The chain IDs of the layers, lowest first.
    let chains: [String]

    /// The digests of the layers' blobs.
    let blobs: [String]

    static let name = "registry.test/shared:1"

    init(in folder: FilePath, of server: RunningServer) throws {
        layout = folder.appending("shared")
        archive = folder.appending("shared.tar")
        let tar = folder.appending("base.tar")
        try server.unpack("-q", RunningServer.fixture("busybox"), "-o", tar.string).succeed()
        let base = [UInt8](try Data(contentsOf: URL(fileURLWithPath: tar.string)))
        let middle = LayerBuilder(
            .directory("."), .directory("etc"), .file("etc/passwd", "root:x:0:0::/:/bin/sh\n"),
            .directory("data", mode: 0o1777).owned(5, 6), .file("data/one", "1\n").at(1_600_000_000),
            .hardLink("data/again", to: "data/one"), .file("data/two", "2\n").xattr("user.comment", "x"),
            .symlink("data/link", to: "/etc/passwd"), .character("data/null", 1, 3), .fifo("data/pipe"),
            .directory("gone", mode: 0o700), .file("gone/file", "x"), .file("set", "uid").mode(0o4755))
        let top = LayerBuilder(
            .whiteout("data/two"), .directory("gone").owned(1, 1), .opaque("gone"), .file("gone/new", "y"),
            .file("data/one", "changed\n"), .whiteout("set"))
        let builder = try ImageBuilder(at: layout)
        let layers = [base, middle.tar, top.tar]
        let diffIDs = layers.map { DiffID(OCI.Digest(.sha256, of: $0)) }
        var chain: ChainID?
        chains = diffIDs.map { diffID in
            let next = ChainID(of: diffID, on: chain)
            chain = next
            return next.description
        }
        let descriptors = try layers.map { try builder.blob(Packing.gzip.pack($0), Packing.gzip.mediaType) }
        blobs = descriptors.map(\.digest.description)
        let manifest = try builder.manifest(try builder.config(.host, diffIDs), descriptors)
        try builder.writeIndex([manifest.named(Self.name)])
        try Command.run("tar", "-cf", archive.string, "-C", layout.string, ".").succeed()
    }
}
