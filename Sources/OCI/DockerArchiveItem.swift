internal import FoundationEssentials

/// One image of a docker-archive's `manifest.json` (Docker image spec v1.2, "Combined Image JSON + Filesystem Changeset
/// Format").
package struct DockerArchiveItem: Decodable, Sendable {
    /// Path of the config in the archive.
    package let config: String
    /// References of the image, e.g. `busybox:1.37`.
    package let names: [String]
    /// Paths of the layers in the archive, lowest first.
    package let layers: [String]

    private enum CodingKeys: String, CodingKey {
        case config = "Config"
        case names = "RepoTags"
        case layers = "Layers"
    }

    package init(from decoder: any Decoder) throws {
        let container = try decoder.container(keyedBy: CodingKeys.self)
        config = try container.decode(String.self, forKey: .config)
        names = try container.decodeIfPresent([String].self, forKey: .names) ?? []
        layers = try container.decodeIfPresent([String].self, forKey: .layers) ?? []
    }

    /// Parses each item separately, so that a malformed item does not affect the others.
    ///
    /// - Throws: `DocumentError` for malformed JSON.
    package static func parse(
        _ bytes: [UInt8]
    ) throws(DocumentError) -> [Result<DockerArchiveItem, DocumentError>] {
        try JSONText(checking: bytes, as: .dockerArchive).decode([Attempted].self).map(\.result)
    }

    private struct Attempted: Decodable {
        let result: Result<DockerArchiveItem, DocumentError>

        init(from decoder: any Decoder) throws {
            do {
                result = .success(try DockerArchiveItem(from: decoder))
            } catch let error as DecodingError {
                result = .failure(DocumentError(explain(error)))
            }
        }
    }
}

extension Descriptor {
    /// A copy of the descriptor, named by a Docker reference.
    package func named(byDocker reference: String) -> Descriptor {
        Descriptor(
            mediaType: mediaType, digest: digest, size: size, platform: platform,
            annotations: [
                Annotation.referenceName: reference,
                Annotation.containerdImageName: DockerReference.normalized(reference),
            ], artifactType: artifactType, data: data)
    }
}

extension ImageManifest {
    /// The manifest as a JSON document; equal manifests give equal bytes.
    package var encoded: [UInt8] {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
        // Encoding cannot fail: strings and integers always have a JSON form.
        return (try? encoder.encode(ManifestDocument(self))).map(Array.init) ?? []
    }
}

private struct ManifestDocument: Encodable {
    let schemaVersion = 2
    let mediaType = MediaType.ociManifest
    let config: Descriptor
    let layers: [Descriptor]

    init(_ manifest: ImageManifest) {
        config = manifest.config
        layers = manifest.layers
    }
}

/// References as users write them for Docker (distribution/reference, "normalized names").
package enum DockerReference {
    /// The full name with registry, repository and tag: `busybox` becomes `docker.io/library/busybox:latest`.
    package static func normalized(_ text: String) -> String {
        var name = text
        let parts = text.split(separator: "/", maxSplits: 1, omittingEmptySubsequences: false)
        if parts.count == 1 {
            name = "docker.io/library/" + text
        } else if parts[0] == "index.docker.io" {
            name = "docker.io/" + parts[1]
        } else if !parts[0].contains("."), !parts[0].contains(":"), parts[0] != "localhost" {
            name = "docker.io/" + text
        }
        let last = name.split(separator: "/").last ?? ""
        return last.contains(":") || last.contains("@") ? name : name + ":latest"
    }
}
