/// An invalid JSON document of an image.
package struct DocumentError: Error, Equatable, Sendable, CustomStringConvertible {
    package let description: String

    /// - Parameter description: may contain text from the document; control characters are replaced.
    package init(_ description: String) { self.description = description.printable }
}

extension String {
    /// The text with control and formatting characters replaced by `?`, so that text from a document can stand in a
    /// message: it can neither control the terminal nor start a new line.
    package var printable: String {
        String(
            String.UnicodeScalarView(
                unicodeScalars.map { scalar in
                    switch scalar.properties.generalCategory {
                    case .control, .format, .lineSeparator, .paragraphSeparator, .surrogate, .unassigned: "?"
                    default: scalar
                    }
                }))
    }
}

extension ImageIndex {
    /// - Throws: `DocumentError` for malformed JSON, and for a document that is an index and a manifest at the same
    ///   time, which two readers would interpret differently (CVE-2021-41190).
    package init(parsing bytes: [UInt8]) throws(DocumentError) {
        let text = try JSONText(checking: bytes, as: .index)
        let shape = try text.decode(Shape.self)
        if shape.config != nil || shape.layers != nil {
            throw DocumentError("it is an index and a manifest at the same time")
        }
        if let mediaType = shape.mediaType, !mediaType.isIndex {
            throw DocumentError("its mediaType is '\(mediaType)', which is not an index")
        }
        // containers/image and Docker have written `null` for no manifests.
        self.init(mediaType: shape.mediaType, manifests: try text.decode(Manifests.self).manifests ?? [])
    }

    private struct Manifests: Decodable { let manifests: [Descriptor]? }
}

extension ImageManifest {
    /// - Throws: `DocumentError`, see `ImageIndex.init(parsing:)`.
    package init(parsing bytes: [UInt8]) throws(DocumentError) {
        let text = try JSONText(checking: bytes, as: .manifest)
        let shape = try text.decode(Shape.self)
        if shape.manifests != nil { throw DocumentError("it is an index and a manifest at the same time") }
        if let mediaType = shape.mediaType, !mediaType.isManifest {
            throw DocumentError("its mediaType is '\(mediaType)', which is not an image manifest")
        }
        self = try text.decode(ImageManifest.self)
    }
}

extension ImageConfig {
    package init(parsing bytes: [UInt8]) throws(DocumentError) {
        self = try JSONText(checking: bytes, as: .config).decode(ImageConfig.self)
        guard rootfs.type == "layers" else {
            throw DocumentError("rootfs.type is '\(rootfs.type)', not 'layers'")
        }
    }
}

/// The `oci-layout` file (OCI image spec, image-layout.md).
package struct LayoutMarker: Codable, Sendable {
    package let imageLayoutVersion: String

    /// - Throws: `DocumentError` for malformed JSON or a version other than 1.x.
    package init(parsing bytes: [UInt8]) throws(DocumentError) {
        self = try JSONText(checking: bytes, as: .marker).decode(LayoutMarker.self)
        guard imageLayoutVersion.hasPrefix("1.") else {
            throw DocumentError("imageLayoutVersion is '\(imageLayoutVersion)', and only 1.x is supported")
        }
    }
}

/// The keys that distinguish an index from a manifest.
private struct Shape: Decodable {
    let mediaType: MediaType?
    let manifests: Present?
    let config: Present?
    let layers: Present?

    struct Present: Decodable { init(from decoder: any Decoder) {} }
}

/// Describes a decoding error with its path in the document: `.manifests[3].size is missing`.
func explain(_ error: DecodingError) -> String {
    func location(_ path: [any CodingKey]) -> String {
        path.isEmpty
            ? "the document" : path.map { $0.intValue.map { "[\($0)]" } ?? ".\($0.stringValue)" }.joined()
    }
    switch error {
    case .keyNotFound(let key, let context): return "\(location(context.codingPath + [key])) is missing"
    case .valueNotFound(_, let context): return "\(location(context.codingPath)) is null"
    case .typeMismatch(_, let context): return "\(location(context.codingPath)) has the wrong type"
    case .dataCorrupted(let context):
        if let cause = context.underlyingError as? Digest.ParseError {
            return "\(location(context.codingPath)): \(cause)"
        }
        guard !context.codingPath.isEmpty else { return "not valid JSON" }
        return "\(location(context.codingPath)): \(context.debugDescription)"
    @unknown default: return "\(error)"
    }
}
