/// `index.json` or a nested index: manifests of one image for several platforms, or of several images.
package struct ImageIndex: Codable, Sendable {
    package let mediaType: MediaType?
    package let manifests: [Descriptor]

    package init(mediaType: MediaType? = nil, manifests: [Descriptor]) {
        self.mediaType = mediaType
        self.manifests = manifests
    }
}

/// One image for one platform (OCI image spec, manifest.md).
package struct ImageManifest: Codable, Sendable {
    package let mediaType: MediaType?
    package let config: Descriptor
    /// Lowest layer first.
    package let layers: [Descriptor]

    package init(mediaType: MediaType? = nil, config: Descriptor, layers: [Descriptor]) {
        self.mediaType = mediaType
        self.config = config
        self.layers = layers
    }

    package init(from decoder: any Decoder) throws {
        let container = try decoder.container(keyedBy: CodingKeys.self)
        mediaType = try container.decodeIfPresent(MediaType.self, forKey: .mediaType)
        config = try container.decode(Descriptor.self, forKey: .config)
        layers = try container.decodeList(Descriptor.self, forKey: .layers)
    }
}

extension KeyedDecodingContainer {
    /// Decodes a required list. Go writes an empty list as null.
    fileprivate func decodeList<Element: Decodable>(_ type: Element.Type, forKey key: Key) throws -> [Element]
    {
        try decodeNil(forKey: key) ? [] : decode([Element].self, forKey: key)
    }
}

/// The image configuration, as far as unpacking needs it (OCI image spec, config.md).
package struct ImageConfig: Codable, Sendable {
    package let platform: Platform
    package let rootfs: RootFS
    package let history: [History]
    /// The `config` object, which describes how to run the image: kept unchanged for the runtime config.
    package let runtimeSettings: JSONValue?
    package let created: String?
    package let author: String?
    /// The platform fields as written in the document.
    package let declaredPlatform: DeclaredPlatform

    package struct RootFS: Codable, Sendable {
        /// Always `layers`.
        package let type: String
        /// Lowest layer first.
        package let diffIDs: [DiffID]

        private enum CodingKeys: String, CodingKey {
            case type
            case diffIDs = "diff_ids"
        }

        package init(from decoder: any Decoder) throws {
            let container = try decoder.container(keyedBy: CodingKeys.self)
            type = try container.decode(String.self, forKey: .type)
            diffIDs = try container.decodeList(DiffID.self, forKey: .diffIDs)
        }
    }

    /// The platform fields before normalization.
    package struct DeclaredPlatform: Codable, Sendable {
        package let os: String?
        package let architecture: String?
        package let variant: String?
        package let osVersion: String?
        package let osFeatures: [String]?

        private enum CodingKeys: String, CodingKey {
            case os, architecture, variant
            case osVersion = "os.version"
            case osFeatures = "os.features"
        }
    }

    package struct History: Codable, Sendable {
        package let created: String?
        package let createdBy: String?
        package let author: String?
        package let comment: String?
        /// Whether the step produced no layer.
        package let emptyLayer: Bool?

        private enum CodingKeys: String, CodingKey {
            case created, author, comment
            case createdBy = "created_by"
            case emptyLayer = "empty_layer"
        }
    }

    private enum CodingKeys: String, CodingKey {
        case rootfs, history, created, author
        case runtimeSettings = "config"
    }

    package init(from decoder: any Decoder) throws {
        let container = try decoder.container(keyedBy: CodingKeys.self)
        platform = try Platform(from: decoder)
        declaredPlatform = try DeclaredPlatform(from: decoder)
        rootfs = try container.decode(RootFS.self, forKey: .rootfs)
        history = try container.decodeIfPresent([History].self, forKey: .history) ?? []
        runtimeSettings = try container.decodeIfPresent(JSONValue.self, forKey: .runtimeSettings)
        created = try container.decodeIfPresent(String.self, forKey: .created)
        author = try container.decodeIfPresent(String.self, forKey: .author)
    }

    package func encode(to encoder: any Encoder) throws {
        try declaredPlatform.encode(to: encoder)
        var container = encoder.container(keyedBy: CodingKeys.self)
        try container.encode(rootfs, forKey: .rootfs)
        try container.encode(history, forKey: .history)
        try container.encodeIfPresent(runtimeSettings, forKey: .runtimeSettings)
        try container.encodeIfPresent(created, forKey: .created)
        try container.encodeIfPresent(author, forKey: .author)
    }

    /// The history steps that produced the layers, lowest first. Nil if the number of such steps differs from the
    /// number of layers: then no step can be attributed to a layer (for example in images squashed by Docker).
    package var layerHistory: [History]? {
        let steps = history.filter { $0.emptyLayer != true }
        return steps.count == rootfs.diffIDs.count ? steps : nil
    }

    /// The history steps that cannot be attributed to layers.
    package var unattributedHistory: [History] { layerHistory == nil ? history : [] }

    /// The command that produced a layer, according to the history.
    ///
    /// - Parameter number: number of the layer, from 1.
    package func command(ofLayer number: Int) -> String? {
        layerHistory.flatMap { steps in
            steps.indices.contains(number - 1) ? steps[number - 1].createdBy : nil
        }
    }
}

/// Any JSON value, preserved as written.
package indirect enum JSONValue: Codable, Hashable, Sendable {
    case null
    case bool(Bool)
    case integer(Int64)
    /// A number greater than `Int64.max`.
    case unsigned(UInt64)
    case number(Double)
    case string(String)
    case array([JSONValue])
    case object([String: JSONValue])

    package init(from decoder: any Decoder) throws {
        let container = try decoder.singleValueContainer()
        if container.decodeNil() {
            self = .null
        } else if let value = try? container.decode(Bool.self) {
            self = .bool(value)
        } else if let value = try? container.decode(Int64.self) {
            self = .integer(value)
        } else if let value = try? container.decode(UInt64.self) {
            self = .unsigned(value)
        } else if let value = try? container.decode(Double.self) {
            self = .number(value)
        } else if let value = try? container.decode(String.self) {
            self = .string(value)
        } else if let value = try? container.decode([JSONValue].self) {
            self = .array(value)
        } else {
            self = .object(try container.decode([String: JSONValue].self))
        }
    }

    package func encode(to encoder: any Encoder) throws {
        var container = encoder.singleValueContainer()
        switch self {
        case .null: try container.encodeNil()
        case .bool(let value): try container.encode(value)
        case .integer(let value): try container.encode(value)
        case .unsigned(let value): try container.encode(value)
        case .number(let value): try container.encode(value)
        case .string(let value): try container.encode(value)
        case .array(let value): try container.encode(value)
        case .object(let value): try container.encode(value)
        }
    }
}
