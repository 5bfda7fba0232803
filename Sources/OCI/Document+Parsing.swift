/// A JSON document of an image that is not what it should be.
package struct DocumentError: Error, Equatable, Sendable, CustomStringConvertible {
    package let description: String

    /// - Parameter description: what the document says may stand in it; a terminal sees none of its controls.
    package init(_ description: String) { self.description = description.printable }
}

extension String {
    /// Without what would steer a terminal or begin a line: text from a document may stand in a message.
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
    /// - Throws: `DocumentError` for malformed JSON, and for a document that is a manifest at the same time,
    ///   which two readers would understand differently (CVE-2021-41190).
    package init(parsing bytes: [UInt8]) throws(DocumentError) {
        let text = try JSONText(checking: bytes, as: .index)
        let shape = try text.decode(Shape.self)
        if shape.config != nil || shape.layers != nil {
            throw DocumentError("it is an index and a manifest at the same time")
        }
        if let mediaType = shape.mediaType, !mediaType.isIndex {
            throw DocumentError("it says that it is '\(mediaType)', not an index")
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
            throw DocumentError("it says that it is '\(mediaType)', not an image manifest")
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
            throw DocumentError("imageLayoutVersion is '\(imageLayoutVersion)', and only 1.x is known")
        }
    }
}

/// Which of the keys that tell an index from a manifest are there.
private struct Shape: Decodable {
    let mediaType: MediaType?
    let manifests: Present?
    let config: Present?
    let layers: Present?

    struct Present: Decodable { init(from decoder: any Decoder) {} }
}

/// What is wrong, and where: `.manifests[3].size`.
func explain(_ error: DecodingError) -> String {
    func place(_ path: [any CodingKey]) -> String {
        path.isEmpty
            ? "the document" : path.map { $0.intValue.map { "[\($0)]" } ?? ".\($0.stringValue)" }.joined()
    }
    switch error {
    case .keyNotFound(let key, let context): return "\(place(context.codingPath + [key])) is missing"
    case .valueNotFound(_, let context): return "\(place(context.codingPath)) is null"
    case .typeMismatch(_, let context): return "\(place(context.codingPath)) has the wrong type"
    case .dataCorrupted(let context):
        if let cause = context.underlyingError as? Digest.ParseError {
            return "\(place(context.codingPath)): \(cause)"
        }
        guard !context.codingPath.isEmpty else { return "not valid JSON" }
        return "\(place(context.codingPath)): \(context.debugDescription)"
    @unknown default: return "\(error)"
    }
}
