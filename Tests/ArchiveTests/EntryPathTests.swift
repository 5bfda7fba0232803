import Archive
import TestSupport
import Testing

@Suite("Paths of entries") struct EntryPathTests {
    @Test(
        "Paths are cleaned lexically",
        arguments: [
            ("a", "a"), ("a/b", "a/b"), ("./a", "a"), ("/a", "a"), ("//a//b//", "a/b"), ("a/./b/.", "a/b"),
            ("a/../b", "b"), ("../a", "a"), ("../../etc/passwd", "etc/passwd"), ("a/../../../b", "b"),
            ("a/b/../../..", "/"), ("/", "/"), (".", "/"), ("./", "/"), ("..", "/"), ("...", "..."),
            ("..a", "..a"),
            ("a b", "a b"), ("a\nb", #"a\x0ab"#), (#"a\b"#, #"a\\b"#), ("é", "é"),
            (Bytes([0x66, 0xE9]), #"f\xe9"#), (Bytes([0xE2, 0x80, 0xAE]), #"\xe2\x80\xae"#),
            (Bytes(String(repeating: "n", count: 255)), String(repeating: "n", count: 255)),
            (Bytes(".wh." + String(repeating: "n", count: 255)), ".wh." + String(repeating: "n", count: 255)),
        ] as [(Bytes, String)])
    func cleaned(path: Bytes, expected: String) throws {
        let path = try EntryPath(path.array)
        #expect(path.description == expected)
        #expect(path.isRoot == (expected == "/"))
        #expect(path.parent.count == max(0, path.components.count - 1))
    }

    @Test(
        "A trailing slash is recorded",
        arguments: [("a/", true), ("a", false), ("/", true), ("a/.", false)])
    func trailingSlash(path: Bytes, expected: Bool) throws {
        #expect(try EntryPath(path.array).hadTrailingSlash == expected)
    }

    @Test(
        "An unusable path is rejected",
        arguments: [
            "", Bytes("a\0b"), Bytes("\0"), Bytes(String(repeating: "n", count: 256)),
            Bytes("a/" + String(repeating: "n", count: 300) + "/b"),
            Bytes(".wh." + String(repeating: "n", count: 256)),
            Bytes(".Wh." + String(repeating: "n", count: 252)),
        ])
    func refused(path: Bytes) {
        #expect(throws: ArchiveFailure.Reason.self) { try EntryPath(path.array) }
    }
}
