internal import FoundationEssentials

/// A reference to a blob by content (OCI image spec, descriptor.md).
package struct Descriptor: Codable, Hashable, Sendable {
    package let mediaType: MediaType
    package let digest: Digest
    /// Size of the blob as stored, in bytes. Never negative: `init(from:)` rejects that.
    package let size: Int64
    package let platform: Platform?
    package let annotations: [String: String]?
    package let artifactType: String?
    /// The blob's content, embedded in the descriptor (the `data` field) and verified like any blob: the layout need
    /// not contain it.
    package let data: EmbeddedData?

    package init(
        mediaType: MediaType, digest: Digest, size: Int64, platform: Platform? = nil,
        annotations: [String: String]? = nil, artifactType: String? = nil,
        data: EmbeddedData? = nil
    ) {
        self.mediaType = mediaType
        self.digest = digest
        self.size = size
        self.platform = platform
        self.annotations = annotations
        self.artifactType = artifactType
        self.data = data
    }

    package init(from decoder: any Decoder) throws {
        let container = try decoder.container(keyedBy: CodingKeys.self)
        // Docker manifest lists may omit fields that OCI requires; a missing media type counts as an unknown one.
        mediaType =
            try container.decodeIfPresent(MediaType.self, forKey: .mediaType) ?? MediaType(rawValue: "")
        digest = try container.decode(Digest.self, forKey: .digest)
        do {
            size = try container.decode(Int64.self, forKey: .size)
        } catch {
            // The error of the parser for a number out of range has no coding path.
            switch error as? DecodingError {
            case nil, .dataCorrupted:
                throw DecodingError.dataCorruptedError(
                    forKey: .size, in: container, debugDescription: "the size is out of range")
            default: throw error
            }
        }
        platform = try container.decodeIfPresent(Platform.self, forKey: .platform)
        annotations = try container.decodeIfPresent([String: String].self, forKey: .annotations)
        artifactType = try container.decodeIfPresent(String.self, forKey: .artifactType)
        data = try container.decodeIfPresent(EmbeddedData.self, forKey: .data)
        guard size >= 0 else {
            throw DecodingError.dataCorruptedError(
                forKey: .size, in: container, debugDescription: "the size \(size) is negative")
        }
        guard size <= Self.largestSize else {
            throw DecodingError.dataCorruptedError(
                forKey: .size, in: container, debugDescription: "the size \(size) is out of range")
        }
    }

    /// 1 PiB: more than any store holds, and small enough that the sizes in one manifest cannot overflow when added
    /// up.
    private static let largestSize: Int64 = 1 << 50

    /// The names that the layout gives the blob (OCI image spec, annotations.md); containerd adds the full name in an
    /// annotation of its own.
    package var referenceNames: [String] {
        let name = annotations?[Annotation.referenceName]
        let fullName = annotations?[Annotation.containerdImageName]
        return [name, fullName == name ? nil : fullName].compactMap(\.self)
    }

    /// Whether this is an attestation manifest of BuildKit, which is not runnable.
    package var isAttestation: Bool {
        annotations?[Annotation.dockerReferenceType] != nil || platform?.isUnknown == true
    }

    enum Annotation {
        static let referenceName = "org.opencontainers.image.ref.name"
        static let containerdImageName = "io.containerd.image.name"
        static let dockerReferenceType = "vnd.docker.reference.type"
    }
}

/// Binary data, encoded as base64 in JSON (RFC 4648, section 4).
package struct EmbeddedData: Hashable, Sendable {
    package let bytes: [UInt8]

    package init(_ bytes: [UInt8]) { self.bytes = bytes }
}

extension EmbeddedData: Codable {
    package init(from decoder: any Decoder) throws {
        bytes = Array(try decoder.singleValueContainer().decode(Data.self))
    }

    package func encode(to encoder: any Encoder) throws {
        var container = encoder.singleValueContainer()
        try container.encode(Data(bytes))
    }
}
