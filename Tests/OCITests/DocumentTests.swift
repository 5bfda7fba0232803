import OCI
import Testing

private let digest = "sha256:\(String(repeating: "ab", count: 32))"
private let layerType = "application/vnd.oci.image.layer.v1.tar+gzip"

private func descriptor(_ type: String, size: String = "7", extra: String = "") -> String {
    #"{"mediaType": "\#(type)", "digest": "\#(digest)", "size": \#(size)\#(extra)}"#
}

private let config = descriptor("application/vnd.oci.image.config.v1+json")

@Suite("Documents") struct DocumentTests {
    @Test(
        "An index is parsed",
        arguments: [
            (#"{"schemaVersion": 2, "manifests": []}"#, 0),
            (#"{"manifests": null}"#, 0),
            (#"{"mediaType": "application/vnd.oci.image.index.v1+json"}"#, 0),
            (#"{"manifests": [\#(descriptor("x/y"))]}"#, 1),
            (
                #"""
                {"mediaType": "application/vnd.docker.distribution.manifest.list.v2+json",
                 "manifests": [\#(descriptor("a")), {"digest": "\#(digest)", "size": 0, "unknown": [1]}]}
                """#, 2
            ),
        ])
    func readsIndex(text: String, count: Int) throws {
        #expect(try ImageIndex(parsing: Array(text.utf8)).manifests.count == count)
    }

    @Test(
        "A document that is not an index is rejected with a reason",
        arguments: [
            ("{]", "not valid JSON"), ("[]", "wrong type"), ("7", "wrong type"),
            (#"{"manifests": 7}"#, "wrong type"),
            (#"{"manifests": [], "layers": []}"#, "at the same time"),
            (#"{"manifests": [], "config": {}}"#, "at the same time"),
            (
                #"{"mediaType": "application/vnd.oci.image.manifest.v1+json", "manifests": []}"#,
                "not an index"
            ),
            (#"{"manifests": [\#(descriptor("x", size: "-1"))]}"#, "negative"),
            (#"{"manifests": [\#(descriptor("x", size: "9223372036854775808"))]}"#, ".manifests[0].size"),
            (#"{"manifests": [\#(descriptor("x", size: "1.5"))]}"#, ".manifests[0].size"),
            (#"{"manifests": [\#(descriptor("x", size: "1e30"))]}"#, ".manifests[0].size"),
            (
                #"{"manifests": [\#(descriptor("x", size: "\"7\""))]}"#,
                ".manifests[0].size has the wrong type"
            ),
            (
                #"{"manifests": [\#(descriptor("x", extra: #", "data": "a-_b""#))]}"#,
                ".manifests[0].data: Encountered Data is not valid Base64"
            ),
            (#"{"manifests": [\#(descriptor("x", extra: #", "data": "YQ""#))]}"#, ".manifests[0].data: "),
            (#"{"manifests": [\#(descriptor("x", extra: #", "data": "Y Q==""#))]}"#, ".manifests[0].data: "),
            (#"{"manifests": [\#(descriptor("x", extra: #", "data": 7"#))]}"#, ".manifests[0].data has"),
            (#"{"manifests": [{"size": 1}]}"#, ".manifests[0].digest is missing"),
            (
                #"{"manifests": [{"digest": "sha1:00", "size": 1}]}"#,
                ".manifests[0].digest: digest algorithm 'sha1'"
            ),
        ])
    func refusesIndex(text: String, reason: String) {
        let error = #expect(throws: DocumentError.self) { try ImageIndex(parsing: Array(text.utf8)) }
        #expect(error?.description.contains(reason) == true, "\(error?.description ?? "")")
    }

    @Test(
        "OCI and Docker manifests are parsed",
        arguments: [
            #"{"config": \#(config), "layers": [\#(descriptor(layerType))]}"#,
            #"""
            {"mediaType": "application/vnd.docker.distribution.manifest.v2+json", "schemaVersion": 2,
             "config": \#(descriptor("application/vnd.docker.container.image.v1+json")),
             "layers": [\#(descriptor("application/vnd.docker.image.rootfs.diff.tar.gzip"))]}
            """#,
        ])
    func readsManifest(text: String) throws {
        let manifest = try ImageManifest(parsing: Array(text.utf8))
        #expect(manifest.config.mediaType.isConfig)
        #expect(manifest.layers.map(\.mediaType.isLayer) == [true])
        #expect(manifest.layers[0].size == 7)
    }

    @Test(
        "A document that is not a manifest is rejected with a reason",
        arguments: [
            (#"{"config": \#(config)}"#, ".layers is missing"),
            (#"{"layers": []}"#, ".config is missing"),
            (#"{"config": \#(config), "layers": [], "manifests": []}"#, "at the same time"),
            (
                #"{"mediaType": "application/vnd.oci.image.index.v1+json", "layers": []}"#,
                "not an image manifest"
            ),
            (#"{"config": \#(config), "layers": [\#(descriptor(layerType, size: "-7"))]}"#, "negative"),
        ])
    func refusesManifest(text: String, reason: String) {
        let error = #expect(throws: DocumentError.self) { try ImageManifest(parsing: Array(text.utf8)) }
        #expect(error?.description.contains(reason) == true, "\(error?.description ?? "")")
    }

    @Test("The fields of a config that unpacking needs are parsed, and its execution settings are preserved")
    func readsConfig() throws {
        let text = #"""
            {"os": "linux", "architecture": "arm", "variant": "v6", "created": "2024-01-01T00:00:00Z",
             "config": {"Cmd": ["sh"], "Big": 1e300, "Small": -3, "Long": 18446744073709551615, "Flag": true, "None": null},
             "rootfs": {"type": "layers", "diff_ids": ["\#(digest)", "\#(digest)"]},
             "history": [{"created_by": "a"}, {"created_by": "b", "empty_layer": true}, {"created_by": "c"}]}
            """#
        let config = try ImageConfig(parsing: Array(text.utf8))
        #expect(config.platform.description == "linux/arm/v6")
        #expect(config.rootfs.diffIDs.map(\.description) == [digest, digest])
        #expect(config.layerHistory?.map(\.createdBy) == ["a", "c"])
        #expect(
            config.runtimeSettings
                == .object([
                    "Cmd": .array([.string("sh")]), "Big": .number(1e300), "Small": .integer(-3),
                    "Long": .unsigned(.max),
                    "Flag": .bool(true),
                    "None": .null,
                ]))
    }

    @Test(
        "History steps are attributed to layers only if as many steps made a layer as there are layers",
        arguments: [
            (2, [("a", false), ("b", true), ("c", false)], ["a", "c"]),
            (1, [("a", false), ("b", true), ("c", false)], nil), (3, [("a", false), ("c", false)], nil),
            (2, [("a", false), ("b", true)], nil), (1, [], nil), (0, [("b", true)], []),
            (0, [("a", false)], nil),
        ] as [(Int, [(String, Bool)], [String]?)])
    func history(layers: Int, steps: [(String, Bool)], expected: [String]?) throws {
        let ids = Array(repeating: "\"\(digest)\"", count: layers).joined(separator: ",")
        let list = steps.map { #"{"created_by": "\#($0)", "empty_layer": \#($1)}"# }.joined(separator: ",")
        let text = #"{"rootfs": {"type": "layers", "diff_ids": [\#(ids)]}, "history": [\#(list)]}"#
        let config = try ImageConfig(parsing: Array(text.utf8))
        #expect(config.layerHistory?.map(\.createdBy) == expected)
        #expect(config.unattributedHistory.count == (expected == nil ? steps.count : 0))
        for number in 1...3 {
            let command = expected.flatMap { number <= $0.count ? $0[number - 1] : nil }
            #expect(config.command(ofLayer: number) == command)
        }
    }

    @Test("A list of layers or diff IDs is required, and may be null, as Go writes an empty one")
    func nullLists() throws {
        let manifest = try ImageManifest(parsing: Array(#"{"config": \#(config), "layers": null}"#.utf8))
        #expect(manifest.layers.isEmpty)
        func diffIDs(_ rootfs: String) throws -> Int {
            try ImageConfig(parsing: Array(#"{"rootfs": \#(rootfs)}"#.utf8)).rootfs.diffIDs.count
        }
        #expect(try diffIDs(#"{"type": "layers", "diff_ids": null}"#) == 0)
        #expect(throws: DocumentError.self) { try diffIDs(#"{"type": "layers"}"#) }
    }

    @Test(
        "A config without a valid list of layers is rejected",
        arguments: [
            (#"{"rootfs": {"type": "disks", "diff_ids": []}}"#, "'disks'"),
            (#"{"rootfs": {"diff_ids": []}}"#, ".rootfs.type is missing"),
            (#"{"os": "linux"}"#, ".rootfs is missing"),
            (#"{"rootfs": {"type": "layers", "diff_ids": ["sha256:12"]}}"#, ".rootfs.diff_ids[0]"),
        ])
    func refusesConfig(text: String, reason: String) {
        let error = #expect(throws: DocumentError.self) { try ImageConfig(parsing: Array(text.utf8)) }
        #expect(error?.description.contains(reason) == true, "\(error?.description ?? "")")
    }

    @Test(
        "A layout marker must have version 1.x",
        arguments: [
            (#"{"imageLayoutVersion": "1.0.0"}"#, true), (#"{"imageLayoutVersion": "1.1.0"}"#, true),
            (#"{"imageLayoutVersion": "2.0.0"}"#, false), (#"{"imageLayoutVersion": "10"}"#, false),
            ("{}", false),
        ])
    func marker(text: String, isRead: Bool) {
        #expect(((try? LayoutMarker(parsing: Array(text.utf8))) != nil) == isRead)
    }

    @Test(
        "Attestations are recognized by annotation and by platform",
        arguments: [
            (descriptor("x"), false),
            (descriptor("x", extra: #", "platform": {"os": "linux", "architecture": "amd64"}"#), false),
            (descriptor("x", extra: #", "platform": {"os": "unknown", "architecture": "unknown"}"#), true),
            (
                descriptor(
                    "x", extra: #", "annotations": {"vnd.docker.reference.type": "attestation-manifest"}"#),
                true
            ),
        ])
    func attestation(text: String, expected: Bool) throws {
        let index = try ImageIndex(parsing: Array(#"{"manifests": [\#(text)]}"#.utf8))
        #expect(index.manifests.map(\.isAttestation) == [expected])
    }
}
