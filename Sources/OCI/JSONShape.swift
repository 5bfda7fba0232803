/// How a value of a document is decoded by Go programs. Keys of a struct that differ only in case are the same key
/// (encoding/json); keys of a map are different keys.
struct JSONShape: Sendable {
    /// The shape of the elements of a list: at most one, in an array because a struct cannot contain itself. An indirect
    /// enum would keep tag bits in its pointers, which LeakSanitizer does not follow.
    private let elements: [JSONShape]
    /// The keys of a struct; nil for any other value.
    let fields: Fields?

    /// A map, or a value without keys: every key is kept as written.
    static let free = JSONShape(elements: [], fields: nil)

    static func list(_ element: JSONShape) -> JSONShape { JSONShape(elements: [element], fields: nil) }

    /// The known keys of a struct.
    struct Fields: Sendable {
        private let byFoldedName: [String: (name: String, shape: JSONShape)]

        init(_ fields: [String: JSONShape]) {
            byFoldedName = Dictionary(
                fields.map { ($0.key.foldedAsKey, (name: $0.key, shape: $0.value)) }, uniquingKeysWith: { $1 }
            )
        }

        subscript(folded key: String) -> (name: String, shape: JSONShape)? { byFoldedName[key] }
    }

    /// - Parameters:
    ///   - names: keys whose values have no known keys of their own.
    ///   - others: keys whose values have known keys.
    static func object(_ names: [String], _ others: [String: JSONShape] = [:]) -> JSONShape {
        JSONShape(elements: [], fields: Fields(others.merging(names.map { ($0, .free) }) { $1 }))
    }

    /// The shape of the elements of a list.
    var element: JSONShape { elements.first ?? .free }
}

extension String {
    /// The folded form of a key: equal for keys that Go's encoding/json treats as the same. Only two non-ASCII
    /// characters fold to letters of a known key: U+017F to `s`, and U+212A to `k`.
    var foldedAsKey: String {
        String(
            String.UnicodeScalarView(
                unicodeScalars.map { scalar in
                    switch scalar {
                    case "A"..."Z": Unicode.Scalar(UInt8(scalar.value) + 0x20)
                    case "\u{17F}": "s"
                    case "\u{212A}": "k"
                    default: scalar
                    }
                }))
    }
}

// MARK: The documents of an image

extension JSONShape {
    private static let platformKeys = ["architecture", "os", "os.version", "os.features", "variant"]

    private static let descriptor = object(
        ["mediaType", "digest", "size", "urls", "annotations", "data", "artifactType"],
        ["platform": object(platformKeys)])

    /// Both shapes know the keys that distinguish an index from a manifest, so that no spelling of such a key is
    /// overlooked.
    static let index = object(
        ["schemaVersion", "mediaType", "artifactType", "annotations", "config", "layers"],
        ["manifests": .list(descriptor), "subject": descriptor])

    static let manifest = object(
        ["schemaVersion", "mediaType", "artifactType", "annotations", "manifests"],
        ["config": descriptor, "layers": .list(descriptor), "subject": descriptor])

    static let config = object(
        ["created", "author"] + platformKeys,
        [
            "config": execution, "rootfs": object(["type", "diff_ids"]),
            "history": .list(object(["created", "created_by", "author", "comment", "empty_layer"])),
        ])

    /// The `config` object (OCI image spec, config.md; Docker image spec v1.2).
    private static let execution = object(
        [
            "User", "Memory", "MemorySwap", "CpuShares", "ExposedPorts", "Env", "Entrypoint", "Cmd",
            "Volumes",
            "WorkingDir", "Labels", "StopSignal", "StopTimeout", "ArgsEscaped", "OnBuild", "Shell",
        ],
        ["Healthcheck": object(["Test", "Interval", "Timeout", "StartPeriod", "StartInterval", "Retries"])])

    static let marker = object(["imageLayoutVersion"])

    /// A docker-archive's `manifest.json`.
    static let dockerArchive = list(object(["Config", "RepoTags", "Layers", "Parent", "LayerSources"]))
}
