internal import Compression
internal import OCI
internal import Streams

/// Compresses a tar, and computes the digests of the tar and of the blob.
final class LayerSink {
    private var compressor: Compressor
    private var tar = Digester(.sha256)
    private var blob = Digester(.sha256)
    private let isCompressed: Bool
    private let output: (RawSpan) throws -> Void

    init(_ format: CompressionFormat, to output: @escaping (RawSpan) throws -> Void)
        throws(CompressionFailure)
    {
        compressor = try Compressor(format)
        isCompressed = format != .none
        self.output = output
    }

    func write(_ bytes: RawSpan) throws {
        tar.update(bytes)
        try compressor.compress(bytes) { try put($0) }
    }

    func finish(as mediaType: MediaType) throws -> WrittenLayer {
        try compressor.finish { try put($0) }
        let diffID = tar.finish()
        let size = isCompressed ? blob.count : tar.count
        return WrittenLayer(
            descriptor: Descriptor(
                mediaType: mediaType, digest: isCompressed ? blob.finish() : diffID, size: size),
            content: LayerContent(diffID: DiffID(diffID), size: tar.count))
    }

    private func put(_ bytes: RawSpan) throws {
        if isCompressed { blob.update(bytes) }
        try output(bytes)
    }
}

extension MediaType {
    /// Compression of a layer of this media type; nil for media types that cannot be written.
    var layerCompression: CompressionFormat? {
        switch rawValue {
        case "application/vnd.oci.image.layer.v1.tar", "application/vnd.docker.image.rootfs.diff.tar":
            CompressionFormat.none
        case "application/vnd.oci.image.layer.v1.tar+gzip",
            "application/vnd.docker.image.rootfs.diff.tar.gzip":
            .gzip
        case "application/vnd.oci.image.layer.v1.tar+zstd",
            "application/vnd.docker.image.rootfs.diff.tar.zstd":
            .zstd
        default: nil
        }
    }
}
