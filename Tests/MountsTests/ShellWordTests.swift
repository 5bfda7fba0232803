import Mounts
import TestSupport
import Testing

@Suite("Words of shell commands") struct ShellWordTests {
    /// Texts that a shell would split, expand or execute.
    static let texts = [
        "x;touch${IFS}/tmp/canary;echo", "$(touch canary)", "`touch canary`", "a b", "a'b'c", "'", #"a"b"#,
        "50%n",
        "#a", "a*", "~", "-rf", "--root=/x", #"a\b\"#, "a&b", "a|b", "a>b", "{a,b}", "!a", "a?", "[a]", "=ls",
        "é", "(a)",
        "a^b", "\u{1F600}",
    ]
    /// Texts that a terminal does not show unchanged.
    static let invisible = [
        "", "a\nb", "\u{1B}[31m", "a\u{9B}b", "a\u{202E}b", "a\u{2066}b", "a\u{FEFF}", "a\rb", "a\tb",
        "\u{7F}",
    ]

    @Test(
        "A text with special characters, or one that looks like an option, is not a plain word",
        arguments: texts + invisible)
    func refused(text: String) {
        #expect(throws: MountLine.Failure.notPlain(text)) { try ShellWord(plain: text) }
    }

    @Test(
        "A plain word is the text itself",
        arguments: [
            "/a/B-9_.+@", "sha256:0123", "k8s.io/3/a", "ro,lowerdir+=/a:/b", "a-b", "+a", "@", ":", ",",
        ])
    func plain(text: String) throws {
        let word = try ShellWord(plain: text)
        #expect(word.text == text && ShellWord(quoting: text, orElse: "X") == word)
        for shell in ["sh", "bash"] {
            #expect(try Command.run(shell, "-c", "printf %s \(text)").succeed().text == text)
        }
    }

    @Test("A quoted word is one argument for every shell", arguments: texts)
    func quoted(text: String) throws {
        let words: [ShellWord] = ["printf", "%s,", ShellWord(quoting: text, orElse: "X"), "end"]
        for shell in ["sh", "bash"] {
            #expect(try Command.run(shell, "-c", words.command).succeed().text == "\(text),end,")
        }
    }

    @Test("A text that a terminal would not show unchanged becomes a placeholder", arguments: invisible)
    func placeholder(text: String) {
        #expect(ShellWord(quoting: text, orElse: "KEY").text == "KEY")
    }
}
