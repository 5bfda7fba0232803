package import Foundation
package import OCI
import Streams
package import SystemPackage

/// Writes an OCI image layout, valid or with errors that a test chooses.
package struct ImageBuilder: Sendable {
    package let path: FilePath
    private let algorithm: OCI.Digest.Algorithm

    /// - Parameters:
    ///   - path: a directory that does not exist yet.
    ///   - algorithm: of all digests, including diff IDs.
    package init(at path: FilePath, _ algorithm: OCI.Digest.Algorithm = .sha256) throws {
        self.path = path
        self.algorithm = algorithm
        try FileManager.default.createDirectory(
            atPath: path.appending("blobs/\(algorithm.rawValue)").string, withIntermediateDirectories: true)
        try write("oci-layout", #"{"imageLayoutVersion": "1.0.0"}"#)
        try writeIndex([])
    }

    package func write(_ name: String, _ contents: Bytes) throws {
        try Data(contents.array).write(to: URL(fileURLWithPath: path.appending(name).string))
    }

    // MARK: Blobs

    package func blobPath(_ digest: OCI.Digest) -> FilePath { path.appending(blobName(digest)) }

    private func blobName(_ digest: OCI.Digest) -> String {
        "blobs/\(digest.algorithm.rawValue)/\(digest.hex)"
    }

    @discardableResult
    package func blob(_ contents: [UInt8], _ mediaType: MediaType) throws -> Descriptor {
        let digest = OCI.Digest(algorithm, of: contents)
        try write(blobName(digest), Bytes(contents))
        return Descriptor(mediaType: mediaType, digest: digest, size: Int64(contents.count))
    }

    package func removeBlob(_ descriptor: Descriptor) throws {
        try FileManager.default.removeItem(atPath: blobPath(descriptor.digest).string)
    }

    /// Changes the content of a blob, but not its name.
    package func damageBlob(_ descriptor: Descriptor, _ change: (inout Data) -> Void) throws {
        let url = URL(fileURLWithPath: blobPath(descriptor.digest).string)
        var data = try Data(contentsOf: url)
        change(&data)
        try data.write(to: url)
    }

    // MARK: Documents

    package func layer(_ layer: LayerBuilder, _ packing: Packing = .gzip) throws -> Descriptor {
        try blob(packing.pack(layer.tar), packing.mediaType)
    }

    /// Writes layers, config and manifest of one image.
    ///
    /// - Parameter diffIDs: the diff IDs in the config; nil for those of the layers.
    package func image(
        _ layers: [LayerBuilder], _ platform: Platform = .host, packing: Packing = .gzip,
        diffIDs: [DiffID]? = nil
    ) throws -> Descriptor {
        let config = try config(platform, diffIDs ?? layers.map { $0.diffID(algorithm) })
        return try manifest(config, try layers.map { try layer($0, packing) })
    }

    package func config(_ platform: Platform, _ diffIDs: [DiffID]) throws -> Descriptor {
        let list = diffIDs.map { "\"\($0)\"" }.joined(separator: ",")
        let members = String(decoding: try encoded(platform), as: UTF8.self).dropFirst().dropLast()
        let text = """
            {\(members)\(members.isEmpty ? "" : ",") "rootfs": {"type": "layers", "diff_ids": [\(list)]}}
            """
        return try blob(Array(text.utf8), .ociConfig)
    }

    package func manifest(_ config: Descriptor, _ layers: [Descriptor]) throws -> Descriptor {
        try blob(try encoded(Manifest(config: config, layers: layers)), .ociManifest)
    }

    package func index(_ manifests: [Descriptor]) throws -> Descriptor {
        try blob(try encoded(Index(manifests: manifests)), .ociIndex)
    }

    /// Writes `index.json`.
    package func writeIndex(_ manifests: [Descriptor]) throws {
        try write("index.json", Bytes(try encoded(Index(manifests: manifests))))
    }

    private func encoded(_ document: some Encodable) throws -> [UInt8] {
        let encoder = JSONEncoder()
        encoder.outputFormatting = .sortedKeys
        return Array(try encoder.encode(document))
    }

    private struct Manifest: Encodable {
        let schemaVersion = 2
        let mediaType = MediaType.ociManifest
        let config: Descriptor
        let layers: [Descriptor]
    }

    private struct Index: Encodable {
        let schemaVersion = 2
        let mediaType = MediaType.ociIndex
        let manifests: [Descriptor]
    }
}

extension Descriptor {
    package func named(_ reference: String) -> Descriptor {
        annotated("org.opencontainers.image.ref.name", reference)
    }

    package func annotated(_ key: String, _ value: String) -> Descriptor {
        copy(annotations: (annotations ?? [:]).merging([key: value]) { $1 })
    }

    package func on(_ platform: Platform) -> Descriptor { copy(platform: platform) }
    package func withSize(_ size: Int64) -> Descriptor { copy(size: size) }
    package func embedding(_ bytes: [UInt8]) -> Descriptor { copy(data: EmbeddedData(bytes)) }

    private func copy(
        size: Int64? = nil, platform: Platform? = nil, annotations: [String: String]? = nil,
        data: EmbeddedData? = nil
    ) -> Descriptor {
        Descriptor(
            mediaType: mediaType, digest: digest, size: size ?? self.size,
            platform: platform ?? self.platform,
            annotations: annotations ?? self.annotations, artifactType: artifactType,
            data: data ?? self.data)
    }
}

extension OCI.Digest {
    package init(_ algorithm: Algorithm, of bytes: [UInt8]) {
        var digester = Digester(algorithm)
        digester.update(bytes)
        self = digester.finish()
    }
}

package func sha256(of bytes: [UInt8]) -> OCI.Digest { OCI.Digest(.sha256, of: bytes) }
