import Erofs
import TestSupport
import Testing

let forms: [ErofsWriter.Form] = [.tarBacked, .packed]

/// A small deterministic content that is no repetition of a block.
func noise(_ count: Int, seed: UInt64 = 1) -> [UInt8] { Bytes.noise(count, seed: seed).array }

func attribute(_ name: String, _ value: [UInt8]) -> InodeAttribute {
    InodeAttribute(name: Array(name.utf8), value: value)
}

extension ErofsModel {
    /// Completes the image and opens it.
    mutating func opened() throws -> ErofsImage {
        let (image, summary) = try finish()
        return try ErofsImage(image, length: summary.length)
    }

    /// A tree with every feature of the format.
    static func everything(_ form: ErofsWriter.Form) throws -> ErofsModel {
        var model = try ErofsModel(form)
        let metadata = InodeMetadata(
            mode: 0o4751, uid: 4_294_967_294, gid: 100_000, seconds: -1, nanoseconds: 999_999_999,
            attributes: [
                attribute("user.comment", Array("text".utf8)), attribute("user.empty", []),
                attribute("security.capability", Self.capability),
                attribute("trusted.overlay.opaque", [0x79]),
            ])
        try model.addRegular("empty", [])
        try model.addRegular("small", noise(10), inTar: true, metadata)
        for (index, size) in [511, 512, 513, 4095, 4096, 4097, 100_000].enumerated() {
            let content = noise(size, seed: UInt64(index + 1))
            try model.addRegular("tar \(size)", content, inTar: true)
            try model.addRegular("data \(size)", content)
        }
        let linked = try model.addRegular("linked", noise(3000), inTar: true, metadata)
        let directory = try model.makeDirectory(
            "directory",
            InodeMetadata(
                mode: 0o1777, uid: 1, gid: 2, seconds: 5_000_000_000, nanoseconds: 1,
                attributes: [
                    attribute("system.posix_acl_access", Self.accessList),
                    attribute("system.posix_acl_default", Self.accessList),
                ]))
        try model.link(linked, as: "other name", in: directory)
        try model.link(linked, as: "third name", in: directory)
        let deep = try model.makeDirectory("subdirectory", in: directory)
        for name: Bytes in [
            "!before dots", "...", ".-", ".hidden", "-", "~", [0xFF], [1], [0x80, 0x0A], "ä",
        ] {
            try model.addSpecial(name, .fifo, in: deep)
        }
        try model.addSpecial(Bytes([UInt8](repeating: 0x78, count: 255)), .socket, in: deep)
        try model.addSpecial("null", .characterDevice, ImageDevice(major: 1, minor: 3))
        try model.addSpecial("whiteout", .characterDevice, ImageDevice(major: 0, minor: 0))
        try model.addSpecial("large", .blockDevice, ImageDevice(major: 4095, minor: 1_048_575))
        try model.addSymlink("link", to: "../some/where")
        for size in [447, 448, 449, 4032, 4033, 4095] {
            try model.addSymlink("link \(size)", to: Bytes([UInt8](repeating: 0x2F, count: size)))
        }
        // The kernel returns `user.*` of regular files and directories only (xattr(7)).
        var linkMetadata = metadata
        linkMetadata.attributes.removeAll { $0.name.starts(with: "user.".utf8) }
        try model.addSymlink("link with attributes", to: "target", linkMetadata)
        try model.addRegular("hole", size: 1 << 20, pieces: [])
        for inTar in [true, false] {
            try model.addRegular(
                "sparse \(inTar)", size: 300_000,
                pieces: [(4096, noise(4096)), (131_072, noise(512, seed: 2))], inTar: inTar)
            try model.addRegular(
                "aligned \(inTar)", size: 512 * 9 + 7,
                pieces: [(512, noise(512)), (1536, noise(1024)), (512 * 9, noise(7))], inTar: inTar)
            try model.addRegular(
                "odd \(inTar)", size: 70_001, pieces: [(3, noise(10)), (50_000, noise(5)), (70_000, [1])],
                inTar: inTar)
        }
        return model
    }

    /// cap_net_raw+ep (linux/capability.h: vfs_cap_data, revision 2).
    static let capability: [UInt8] = [1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]
}

/// Expects two lists of paths to be equal, and reports only the lines that differ.
func expectSame(_ actual: [String], _ expected: [String], _ location: SourceLocation = #_sourceLocation) {
    let missing = Set(expected).subtracting(actual).sorted().prefix(3).map { "- \($0.prefix(300))" }
    let unexpected = Set(actual).subtracting(expected).sorted().prefix(3).map { "+ \($0.prefix(300))" }
    let differences = (missing + unexpected).joined(separator: "\n")
    #expect(differences.isEmpty, "\(differences)", sourceLocation: location)
    #expect(actual.count == expected.count, sourceLocation: location)
}
