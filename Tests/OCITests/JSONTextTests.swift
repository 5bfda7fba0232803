import OCI
import TestSupport
import Testing

private let digest = "sha256:\(String(repeating: "ab", count: 32))"

/// A config that is valid except for its `config` object.
private func config(_ execution: String) -> [UInt8] {
    Array(#"{"rootfs": {"type": "layers", "diff_ids": []}, "config": \#(execution)}"#.utf8)
}

private func reason(_ bytes: [UInt8]) -> String? {
    #expect(throws: DocumentError.self) { try ImageIndex(parsing: bytes) }?.description
}

@Suite("JSON text of documents") struct JSONTextTests {
    @Test(
        "Invalid JSON is rejected with a reason",
        arguments: [
            ("", "it is empty"), (" \n\t", "it is empty"),
            ([0xEF, 0xBB, 0xBF] + "{}", "it begins with a byte order mark"),
            (#"{"a": ""# + [0xC3, 0x28] + #""}"#, "not valid UTF-8, at byte 7"),
            (#"{"a": ""# + [0xED, 0xA0, 0x80] + #""}"#, "not valid UTF-8"),
            ([0xFF, 0xFE, 0x7B, 0, 0x7D, 0], "not valid UTF-8"),
            ([0x7B, 0, 0x7D, 0], "not valid JSON, at byte 1"),
            ("{} {}", "unexpected data after the document, at byte 3"),
            ("{}x", "unexpected data after the document"),
            ("{}" + [0], "unexpected data after the document"),
            ("{", "it ends too early"), (#"{"manifests": ["#, "it ends too early"),
            (#"{"a": ""#, "it ends too early"), (#"{"a": "\"#, "it ends too early"),
            (#"{"a": "\""#, "it ends too early"),
            ("{'a': 1}", "not valid JSON"),
            (#"{"\x": 1}"#, "not valid JSON, at byte 1"),
            (#"{"a": NaN}"#, "not valid JSON"), (#"{"a" 1}"#, "not valid JSON"), (",", "not valid JSON"),
            ("{} // that was it", "unexpected data after the document"), ("/* */ {}", "not valid JSON"),
        ] as [(Bytes, String)])
    func refuses(text: Bytes, expected: String) {
        let reason = reason(text.array)
        #expect(reason?.contains(expected) == true, "\(reason ?? "nothing")")
    }

    @Test("A document may be 100 levels deep, but not deeper", arguments: ["[", #"{"a":"#])
    func depth(opening: String) throws {
        func nested(_ depth: Int) -> String {
            let closing = opening == "[" ? "]" : "}"
            return String(repeating: opening, count: depth) + "1" + String(repeating: closing, count: depth)
        }
        // The config adds one level.
        #expect(try ImageConfig(parsing: config(nested(99))).runtimeSettings != nil)
        for depth in [100, 100_000] {
            #expect(throws: DocumentError("nested too deeply: more than 100 levels")) {
                try ImageConfig(parsing: config(nested(depth)))
            }
        }
        #expect(throws: DocumentError("nested too deeply: more than 100 levels")) {
            try ImageIndex(parsing: Array(String(repeating: opening, count: 100_000).utf8))
        }
    }

    @Test("A document with a duplicate key in an object is rejected, because readers disagree on it")
    func duplicateKeys() throws {
        let twice = [
            #"{"manifests": [], "manifests": []}"#,
            #"{"manifests": [{"digest": "\#(digest)", "size": 1, "digest": "\#(digest)"}]}"#,
            #"{"manifests": [], "m\u0061nifests" : []}"#, #"{"a": {"b": [1, {"c": 1, "c": 2}]}}"#,
        ]
        for text in twice { #expect(reason(Array(text.utf8))?.contains("occurs twice") == true, "\(text)") }
        let once =
            #"{"a": {"a": "a"}, "b": [{"a": "a"}, {"a": "a"}], "c": ["a", "a"], "\"a\"": "b:", "\\": 1}"#
        #expect(try ImageIndex(parsing: Array(once.utf8)).manifests.isEmpty)
    }

    // MARK: Keys in another case

    private static let layer =
        #"{"mediaType": "application/vnd.oci.image.layer.v1.tar", "digest": "\#(digest)", "size": 7}"#
    private static let description =
        #"{"mediaType": "application/vnd.oci.image.config.v1+json", "digest": "\#(digest)", "size": 7}"#

    /// The folding of Go's encoding/json: ASCII letters, U+017F for s and U+212A for k.
    @Test(
        "Two known keys that differ only in case are duplicates",
        arguments: [
            #"{"manifests": [], "Manifests": []}"#, #"{"Manifests": [], "MANIFESTS": []}"#,
            #"{"manifests": [], "manife\u017fts": []}"#, #"{"manifests": [], "manifeſts": []}"#,
            #"{"manifests": [{"digest": "\#(digest)", "size": 1, "Size": 2}]}"#,
            #"{"manifests": [{"digest": "\#(digest)", "size": 1, "platform": {"os": "a", "OS": "b"}}]}"#,
            #"{"manifests": [], "other": 1, "Other": 2}"#,
        ])
    func sameKeys(text: String) {
        let reason = reason(Array(text.utf8))
        #expect(
            reason?.contains("occurs twice, ignoring case, at byte") == true, "\(reason ?? "nothing")")
    }

    @Test("A layer list under two spellings of its key is rejected, because Go reads the last one")
    func twoLayerLists() {
        let text = #"{"config": \#(Self.description), "layers": [], "Layers": [\#(Self.layer)]}"#
        #expect(throws: DocumentError.self) { try ImageManifest(parsing: Array(text.utf8)) }
        let config = #"{"rootfs": {"type": "layers", "diff_ids": [], "Diff_IDs": []}}"#
        #expect(throws: DocumentError.self) { try ImageConfig(parsing: Array(config.utf8)) }
        let run = #"{"rootfs": {"type": "layers", "diff_ids": []}, "config": {"User": "1", "user": "0"}}"#
        #expect(throws: DocumentError.self) { try ImageConfig(parsing: Array(run.utf8)) }
        #expect(throws: DocumentError.self) {
            try DockerArchiveItem.parse(Array(#"[{"Config": "a", "config": "b"}]"#.utf8))
        }
        let marker = #"{"imageLayoutVersion": "1.0.0", "imagelayoutversion": "2.0.0"}"#
        #expect(throws: DocumentError.self) { try LayoutMarker(parsing: Array(marker.utf8)) }
    }

    @Test("A known key is read in any case, as in Go")
    func otherCase() throws {
        let index = try ImageIndex(
            parsing: Array(
                #"""
                {"MediaType": "application/vnd.oci.image.index.v1+json", "manifeſts": [
                 {"Digest": "\#(digest)", "SIZE": 7, "Platform": {"OS": "linux", "Architecture": "arm", "\u004fs.Features": ["x"]},
                  "Annotations": {"A": "1", "a": "2"}}]}
                """#.utf8))
        #expect(index.mediaType == .ociIndex)
        #expect(index.manifests.map(\.platform?.description) == ["linux(+x)/arm/v7"])
        #expect(index.manifests.first?.annotations == ["A": "1", "a": "2"])
        let text = #"{"Config": \#(Self.description), "LAYERS": [\#(Self.layer)]}"#
        #expect(try ImageManifest(parsing: Array(text.utf8)).layers.count == 1)
        let config = try ImageConfig(
            parsing: Array(
                #"""
                {"OS": "linux", "Architecture": "amd64", "RootFS": {"Type": "layers", "Diff_IDs": ["\#(digest)"]},
                 "History": [{"Created_By": "a", "Empty_Layer": false}],
                 "Config": {"user": "7", "entrypoint": ["e"], "ENV": ["A=1"], "worKingdir": "/w", "Own": 1,
                            "labels": {"L": "1", "l": "2"}, "exposedPorts": {"80/TCP": {}, "80/tcp": {}}}}
                """#.utf8))
        #expect(config.platform.description == "linux/amd64" && config.rootfs.diffIDs.count == 1)
        #expect(config.command(ofLayer: 1) == "a")
        #expect(
            config.runtimeSettings == [
                "User": "7", "Entrypoint": ["e"], "Env": ["A=1"], "WorkingDir": "/w", "Own": 1,
                "Labels": ["L": "1", "l": "2"], "ExposedPorts": ["80/TCP": [:], "80/tcp": [:]],
            ])
        let items = try DockerArchiveItem.parse(
            Array(#"[{"config": "c.json", "repoTags": ["a:b"], "layers": ["l"]}]"#.utf8))
        let item = try #require(items.first).get()
        #expect(item.config == "c.json" && item.names == ["a:b"] && item.layers == ["l"])
        let marker = try LayoutMarker(parsing: Array(#"{"ImageLayoutVersion": "1.0.0"}"#.utf8))
        #expect(marker.imageLayoutVersion == "1.0.0")
    }

    @Test("A document that is an index and a manifest is rejected in any case of its keys")
    func bothInAnyCase() {
        #expect(reason(Array(#"{"manifests": [], "LAYERS": []}"#.utf8))?.contains("at the same time") == true)
        let text = #"{"config": \#(Self.description), "layers": [], "Manifests": []}"#
        #expect(throws: DocumentError("it is an index and a manifest at the same time")) {
            try ImageManifest(parsing: Array(text.utf8))
        }
    }

    @Test("Keys of maps and of unknown objects may differ in case")
    func foreignKeys() throws {
        let text =
            #"{"manifests": [], "annotations": {"a": "1", "A": "2"}, "x": {"a": 1, "A": [{"b": 1, "B": 2}]}}"#
        #expect(try ImageIndex(parsing: Array(text.utf8)).manifests.isEmpty)
    }

    @Test("A document with too many values is rejected, one with long values is parsed")
    func values() throws {
        let limit = 1 << 18
        func list(_ count: Int) -> [UInt8] {
            Array((#"{"manifests": [], "x": [0"# + String(repeating: ",0", count: count - 1) + "]}").utf8)
        }
        // In addition to the zeros: the object, two keys, two arrays.
        #expect(try ImageIndex(parsing: list(limit - 5)).manifests.isEmpty)
        #expect(reason(list(limit - 4)) == "more than 262144 keys and values, which is the limit")
        let long = config(#"{"a": "\#(String(repeating: #"\u00e9"#, count: 100_000))"}"#)
        #expect(
            try ImageConfig(parsing: long).runtimeSettings
                == .object(["a": .string(String(repeating: "é", count: 100_000))]))
    }
}
