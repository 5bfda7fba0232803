/// The media type of a blob (OCI image spec, media-types.md; Docker image manifest v2 schema 2).
package struct MediaType: RawRepresentable, Hashable, Codable, Sendable, CustomStringConvertible {
    package let rawValue: String

    package init(rawValue: String) { self.rawValue = rawValue }

    package var description: String { rawValue.printable }

    package static let ociIndex = MediaType(rawValue: "application/vnd.oci.image.index.v1+json")
    package static let ociManifest = MediaType(rawValue: "application/vnd.oci.image.manifest.v1+json")
    package static let ociConfig = MediaType(rawValue: "application/vnd.oci.image.config.v1+json")
    /// An uncompressed layer.
    package static let ociLayer = MediaType(rawValue: "application/vnd.oci.image.layer.v1.tar")
    package static let ociLayerGzip = MediaType(rawValue: ociLayer.rawValue + "+gzip")
    package static let dockerIndex = MediaType(
        rawValue: "application/vnd.docker.distribution.manifest.list.v2+json")
    package static let dockerManifest = MediaType(
        rawValue: "application/vnd.docker.distribution.manifest.v2+json")
    package static let dockerConfig = MediaType(rawValue: "application/vnd.docker.container.image.v1+json")

    /// - Parameter compression: `gzip` or `zstd`; nil for none.
    package static func ociLayer(compression: String?) -> MediaType {
        MediaType(rawValue: "application/vnd.oci.image.layer.v1.tar" + (compression.map { "+" + $0 } ?? ""))
    }

    package var isIndex: Bool { self == .ociIndex || self == .dockerIndex }
    package var isManifest: Bool { self == .ociManifest || self == .dockerManifest }
    package var isConfig: Bool { self == .ociConfig || self == .dockerConfig }

    /// Whether the type is that of a file-system layer. The compression is determined by the first bytes of the blob,
    /// not by the media type.
    package var isLayer: Bool { Self.layers.contains(rawValue) }

    /// Whether the type declares a compressed blob.
    package var isCompressed: Bool { rawValue.hasSuffix("gzip") || rawValue.hasSuffix("zstd") }

    private static let layers: Set<String> = {
        let oci = [
            "application/vnd.oci.image.layer.v1.tar",
            "application/vnd.oci.image.layer.nondistributable.v1.tar",
        ]
        let docker = [
            "application/vnd.docker.image.rootfs.diff.tar",
            "application/vnd.docker.image.rootfs.foreign.diff.tar",
        ]
        let compressed =
            oci.flatMap { ["\($0)+gzip", "\($0)+zstd"] } + docker.flatMap { ["\($0).gzip", "\($0).zstd"] }
        return Set(oci + docker + compressed)
    }()
}
