import Serving
import Testing

@Suite struct TruncationTests {
    @Test(
        "A text is truncated to whole characters of UTF-8",
        arguments: [
            ("abc", 3, "abc"), ("abc", 2, "ab…"), ("a\u{E9}b", 3, "a\u{E9}…"), ("a\u{E9}b", 2, "a…"),
            ("\u{1F600}", 3, "…"), ("e\u{301}x", 3, "e\u{301}…"), ("e\u{301}", 2, "e…"), ("abc", 0, "…"),
        ])
    func truncation(text: String, length: Int, expected: String) {
        #expect(Array(text.truncated(to: length).utf8) == Array(expected.utf8))
    }
}
