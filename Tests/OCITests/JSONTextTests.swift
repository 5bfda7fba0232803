import OCI
import TestSupport
import Testing

private let digest = "sha256:\(String(repeating: "ab", count: 32))"

/// A config that is right but for what stands in it.
private func config(_ execution: String) -> [UInt8] {
    Array(#"{"rootfs": {"type": "layers", "diff_ids": []}, "config": \#(execution)}"#.utf8)
}

private func reason(_ bytes: [UInt8]) -> String? {
    #expect(throws: DocumentError.self) { try ImageIndex(parsing: bytes) }?.description
}

@Suite("The text of a document") struct JSONTextTests {
    @Test(
        "What is no JSON text is refused, and told why",
        arguments: [
            ("", "it is empty"), (" \n\t", "it is empty"),
            ([0xEF, 0xBB, 0xBF] + "{}", "it begins with a byte order mark"),
            (#"{"a": ""# + [0xC3, 0x28] + #""}"#, "not valid UTF-8, at byte 7"),
            (#"{"a": ""# + [0xED, 0xA0, 0x80] + #""}"#, "not valid UTF-8"),
            ([0xFF, 0xFE, 0x7B, 0, 0x7D, 0], "not valid UTF-8"),
            ([0x7B, 0, 0x7D, 0], "not valid JSON, at byte 1"),
            ("{} {}", "something follows its end, at byte 3"), ("{}x", "something follows its end"),
            ("{}" + [0], "something follows its end"),
            ("{", "it ends too early"), (#"{"manifests": ["#, "it ends too early"),
            (#"{"a": ""#, "it ends too early"), (#"{"a": "\"#, "it ends too early"),
            (#"{"a": "\""#, "it ends too early"),
            ("{'a': 1}", "not valid JSON"),
            (#"{"\x": 1}"#, "not valid JSON, at byte 1"),
            (#"{"a": NaN}"#, "not valid JSON"), (#"{"a" 1}"#, "not valid JSON"), (",", "not valid JSON"),
            ("{} // that was it", "something follows its end"), ("/* */ {}", "not valid JSON"),
        ] as [(Bytes, String)])
    func refuses(text: Bytes, expected: String) {
        let reason = reason(text.array)
        #expect(reason?.contains(expected) == true, "\(reason ?? "nothing")")
    }

    @Test("A document may be 100 levels deep, and no deeper", arguments: ["[", #"{"a":"#])
    func depth(opening: String) throws {
        func nested(_ depth: Int) -> String {
            let closing = opening == "[" ? "]" : "}"
            return String(repeating: opening, count: depth) + "1" + String(repeating: closing, count: depth)
        }
        // The config is one level itself.
        #expect(try ImageConfig(parsing: config(nested(99))).execution != nil)
        for depth in [100, 100_000] {
            #expect(throws: DocumentError("nested too deeply: more than 100 levels")) {
                try ImageConfig(parsing: config(nested(depth)))
            }
        }
        #expect(throws: DocumentError("nested too deeply: more than 100 levels")) {
            try ImageIndex(parsing: Array(String(repeating: opening, count: 100_000).utf8))
        }
    }

    @Test("A document with a key twice in one object is refused: readers would differ")
    func duplicateKeys() throws {
        let twice = [
            #"{"manifests": [], "manifests": []}"#,
            #"{"manifests": [{"digest": "\#(digest)", "size": 1, "digest": "\#(digest)"}]}"#,
            #"{"manifests": [], "m\u0061nifests" : []}"#, #"{"a": {"b": [1, {"c": 1, "c": 2}]}}"#,
        ]
        for text in twice { #expect(reason(Array(text.utf8))?.contains("is there twice") == true, "\(text)") }
        let once =
            #"{"a": {"a": "a"}, "b": [{"a": "a"}, {"a": "a"}], "c": ["a", "a"], "\"a\"": "b:", "\\": 1}"#
        #expect(try ImageIndex(parsing: Array(once.utf8)).manifests.isEmpty)
    }

    @Test("A document of too many values is refused, one of long values is read")
    func values() throws {
        let limit = 1 << 18
        func list(_ count: Int) -> [UInt8] {
            Array((#"{"manifests": [], "x": [0"# + String(repeating: ",0", count: count - 1) + "]}").utf8)
        }
        // Around the zeros: the object, two keys, two arrays.
        #expect(try ImageIndex(parsing: list(limit - 5)).manifests.isEmpty)
        #expect(reason(list(limit - 4)) == "more than 262144 keys and values, and no more are read")
        let long = config(#"{"a": "\#(String(repeating: #"\u00e9"#, count: 100_000))"}"#)
        #expect(
            try ImageConfig(parsing: long).execution
                == .object(["a": .string(String(repeating: "é", count: 100_000))]))
    }
}
