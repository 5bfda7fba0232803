import Kernel
import TestSupport
import Testing

@Suite("Names") struct NameTests {
    @Test(
        "A file name is one component",
        arguments: [
            ("a", true), (".a", true), ("...", true), ("a b", true), ([0xFF, 0xFE], true), ("\n", true),
            (Bytes(String(repeating: "n", count: 255)), true), ("", false), (".", false), ("..", false),
            ("a/b", false), ("/", false), ("a/", false), ("a\0", false),
            (Bytes(String(repeating: "n", count: 256)), false),
        ] as [(Bytes, Bool)])
    func fileName(bytes: Bytes, isName: Bool) {
        let name = FileName(bytes.array)
        #expect((name != nil) == isName)
        if let name { #expect(Array(name.bytes) == bytes.array) }
    }

    @Test(
        "An attribute name is 1 to 255 bytes without NUL",
        arguments: [
            ("user.a", true), ([0xFF], true), ("a/b", true), ("", false), ("a\0", false),
            (Bytes(String(repeating: "n", count: 255)), true),
            (Bytes(String(repeating: "n", count: 256)), false),
        ] as [(Bytes, Bool)])
    func attributeName(bytes: Bytes, isName: Bool) {
        #expect((AttributeName(bytes.array) != nil) == isName)
    }

    @Test("Prefixes are compared as bytes")
    func prefixes() {
        #expect(FileName(literal: ".wh.x").hasPrefix(".wh."))
        #expect(FileName(literal: ".wh.").hasPrefix(".wh."))
        #expect(!FileName(literal: ".wh").hasPrefix(".wh."))
        #expect(AttributeName(literal: "trusted.overlay.x").hasPrefix("trusted.overlay."))
        #expect(!AttributeName(literal: "trusted.overlayx").hasPrefix("trusted.overlay."))
    }

    @Test("Attribute names are ordered by their bytes")
    func order() {
        let names = ["user.b", "user.a", "user", "trusted.z", "user.a.b"].map { AttributeName(literal: $0) }
        #expect(names.sorted().map(\.description) == ["trusted.z", "user", "user.a", "user.a.b", "user.b"])
    }

    @Test(
        "Untrusted bytes are escaped for a terminal",
        arguments: [
            ("plain", "plain"), ("é日本", "é日本"), ("a\nb\t", #"a\x0ab\x09"#), ("\u{1B}[31m", #"\x1b[31m"#),
            ([0x80], #"\x80"#), ([0xC3, 0x28], #"\xc3("#), ([0xE2, 0x82], #"\xe2\x82"#), (#"\"#, #"\\"#),
            ("\u{202E}", #"\xe2\x80\xae"#), ("\u{200B}", #"\xe2\x80\x8b"#), ("\u{7F}", #"\x7f"#),
            ("\u{2028}", #"\xe2\x80\xa8"#), ([0xED, 0xA0, 0x80], #"\xed\xa0\x80"#), ("e\u{301}", "e\u{301}"),
            ("😀", "😀"), ([0xF0, 0x9F, 0x98], #"\xf0\x9f\x98"#), ("", ""),
        ] as [(Bytes, String)])
    func escapes(bytes: Bytes, expected: String) {
        #expect(escaped(bytes.array) == expected)
    }

    @Test(
        "Control characters and line breaks in text are escaped once",
        arguments: [
            ("plain", "plain"), ("é日本 😀", "é日本 😀"), (#"a\b\\"#, #"a\b\\"#),
            ("a\nhint: b\r\n", #"a\x0ahint: b\x0d\x0a"#),
            ("\u{1B}[31m", #"\x1b[31m"#), ("\u{9B}31m", #"\xc2\x9b31m"#),
            ("\u{202E}\u{2066}", #"\xe2\x80\xae\xe2\x81\xa6"#),
            ("a\u{7F}\u{85}\t", #"a\x7f\xc2\x85\x09"#), ("e\u{301}", "e\u{301}"),
        ])
    func printables(text: String, expected: String) {
        #expect(printable(text) == expected)
        #expect(printable(expected) == expected)
        #expect(printable(escaped(text.utf8)) == escaped(text.utf8))
        #expect(printable("a\n\u{1B}", keeping: ["\n"]) == "a\n\\x1b")
    }

    @Test(
        "Kernel releases are compared as numbers", arguments: [(6, 7, 6, 12), (5, 19, 6, 0), (6, 0, 10, 0)])
    func releases(major: Int, minor: Int, laterMajor: Int, laterMinor: Int) {
        #expect(
            KernelRelease(major: major, minor: minor) < KernelRelease(major: laterMajor, minor: laterMinor))
        #expect(KernelRelease.current >= KernelRelease(major: 5, minor: 2))
    }
}
