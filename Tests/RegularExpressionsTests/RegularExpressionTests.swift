import RegularExpressions
import Testing

/// An expression with texts that it matches and does not match (https://pkg.go.dev/regexp/syntax).
private struct Claim: CustomTestStringConvertible {
    let expression: String
    let found: [String]
    let missed: [String]
    var testDescription: String { expression.debugDescription }

    init(_ expression: String, in found: [String], notIn missed: [String] = []) {
        self.expression = expression
        self.found = found
        self.missed = missed
    }
}

private let claims = [
    // Literals, anywhere.
    Claim("", in: ["", "a"]),
    Claim("bc", in: ["bc", "abcd"], notIn: ["", "b", "bac", "BC"]),
    Claim("caf\u{E9}", in: ["caf\u{E9}"], notIn: ["cafe\u{301}"]),
    // Escapes with a meaning.
    Claim(#"\.\*\-\_\/\]"#, in: [".*-_/]"], notIn: ["a*-_/]"]),
    Claim(#"a\t\n\r\f\v\a"#, in: ["a\t\n\r\u{C}\u{B}\u{7}"]),
    Claim(#"\x41\x{42}\x{10FFFF}"#, in: ["AB\u{10FFFF}"]),
    Claim(#"\0\12\101\1012"#, in: ["\0\nAA2"]),
    Claim(#"\x{D800}"#, in: [], notIn: ["", "\u{FFFD}"]),
    Claim(#"\Qa.*\d\E+b"#, in: [#"a.*\db"#, #"a.*\dddb"#], notIn: ["axxx1b", #"a.*\"#]),
    Claim(#"\Qa|b"#, in: ["a|b"], notIn: ["a", "b"]),
    // Classes of characters.
    Claim("^.$", in: ["a", "\u{E9}", "\u{1F600}"], notIn: ["", "\n", "ab"]),
    Claim("[b-d]", in: ["b", "c", "d"], notIn: ["a", "e", "-"]),
    Claim("^[^b-d]$", in: ["a", "e", "-", "\n"], notIn: ["b", "c", "d", ""]),
    Claim("^[]-]$", in: ["]", "-"], notIn: ["["]),
    Claim("^[^]a]$", in: ["^", "b"], notIn: ["]", "a"]),
    Claim("^[a\\-c]$", in: ["a", "-", "c"], notIn: ["b"]),
    Claim("^[--/]$", in: ["-", ".", "/"], notIn: [","]),
    Claim(#"^[\d-z]$"#, in: ["0", "-", "z"], notIn: ["a"]),
    Claim("^[a&&b]$", in: ["a", "&", "b"]),
    Claim("^[[:alpha]$", in: ["[", ":", "a", "p"], notIn: ["b", "]"]),
    Claim(#"[^\x00-\x{10FFFF}]"#, in: [], notIn: ["", "a", "\n"]),
    // Groups of ASCII.
    Claim(#"^\d\D$"#, in: ["1a", "1\u{661}"], notIn: ["11", "\u{661}a"]),
    Claim(#"^\s$"#, in: ["\t", "\n", "\u{C}", "\r", " "], notIn: ["\u{B}", "\u{A0}", "a"]),
    Claim(#"^\S$"#, in: ["\u{B}", "\u{A0}", "a"], notIn: ["\t", " "]),
    Claim(#"^\w$"#, in: ["a", "Z", "0", "_"], notIn: ["-", "\u{E9}"]),
    Claim(#"^[^\W_]$"#, in: ["a", "0"], notIn: ["_", "-", "\u{E9}"]),
    Claim("^[[:space:]]$", in: ["\u{B}", " "], notIn: ["a"]),
    Claim("^[[:^space:]x]$", in: ["a", "x"], notIn: ["\u{B}", " "]),
    Claim("^[^[:punct:]]$", in: ["a", "\u{AB}"], notIn: ["!", "~", "_"]),
    Claim("^[[:xdigit:][:blank:]]$", in: ["F", "f", "9", "\t"], notIn: ["g", "\n"]),
    // Groups of Unicode.
    Claim(#"^\pL\p{Lu}\PN\P{^Nd}$"#, in: ["a\u{C9}!1"], notIn: ["1\u{C9}!1", "aa!1", "a\u{C9}11"]),
    Claim(#"^[\pZ\P{L}]$"#, in: ["\u{A0}", "1"], notIn: ["a"]),
    Claim(#"^\p{Any}$"#, in: ["a", "\n", "\u{10FFFF}"], notIn: [""]),
    Claim(#"\P{Any}"#, in: [], notIn: ["a", ""]),
    // Repetitions of the part before them.
    Claim("^ab*c$", in: ["ac", "abc", "abbbc"], notIn: ["aabc", "abab"]),
    Claim("^(ab)+$", in: ["ab", "abab"], notIn: ["", "aba"]),
    Claim("^ab?$", in: ["a", "ab"], notIn: ["abb"]),
    Claim("^a*?b+?c??$", in: ["b", "aabbc"], notIn: ["", "a", "bcc"]),
    Claim("^(?U)a*b+?$", in: ["aab", "bbb"], notIn: ["aa"]),
    Claim("^a{2}$", in: ["aa"], notIn: ["a", "aaa"]),
    Claim("^a{2,}$", in: ["aa", "aaaaa"], notIn: ["a"]),
    Claim("^a{1,3}$", in: ["a", "aa", "aaa"], notIn: ["", "aaaa"]),
    Claim("^a{0,2}?b{0}$", in: ["", "a", "aa"], notIn: ["aaa", "b"]),
    Claim("^(a|b{2}){2}$", in: ["aa", "abb", "bbbb"], notIn: ["ab", "bbb"]),
    Claim(
        "^a{1000}$", in: [String(repeating: "a", count: 1000)], notIn: [String(repeating: "a", count: 999)]),
    Claim("^(a*)*$|^(|b)+$|^(){3,}$", in: ["", "aaa", "bb"], notIn: ["ab"]),
    Claim("^^a$$", in: ["a"], notIn: ["aa"]),
    Claim("(?:^)*a", in: ["a", "ba"]),
    Claim("((a{1000}){0}b){1000}|c", in: ["c"], notIn: ["a"]),
    // Braces that are literals.
    Claim("^a{,2}{x}{1,y}{01}{$", in: ["a{,2}{x}{1,y}{01}{"]),
    // Alternations.
    Claim("^(?:a|bc|)$", in: ["a", "bc", ""], notIn: ["b", "abc"]),
    Claim("^a|b$", in: ["ax", "xb"], notIn: ["xa", "bx"]),
    Claim("|", in: ["", "a"]),
    // Assertions.
    Claim("^a$", in: ["a"], notIn: ["a\n", "b\na"]),
    Claim("(?m)^a$", in: ["a", "a\nb", "b\na", "b\na\nb"], notIn: ["ba", "ab\n"]),
    Claim(#"(?m)\Aa\z"#, in: ["a"], notIn: ["a\nb", "b\na"]),
    Claim(#"\bfoo\b"#, in: ["foo", "a foo.", "\u{E9}foo"], notIn: ["foo_", "afoo", "foo1"]),
    Claim(#"^\B$|a\Bb"#, in: ["", "ab"], notIn: ["a", "a b"]),
    // Groups and flags.
    Claim("^(?P<n_1>a)(?<m>b)(?:c)(d)$", in: ["abcd"]),
    Claim("^(?i)a(b(?-i)c)d$", in: ["abcd", "ABcD"], notIn: ["abCd"]),
    Claim("^(?i:a)b$", in: ["ab", "Ab"], notIn: ["aB"]),
    Claim("a(?i)b|c", in: ["aB", "C"], notIn: ["Ab"]),
    Claim("^a(?i)*$", in: ["aa", ""], notIn: ["A"]),
    Claim("^(?s).(?-s:.)$", in: ["\na"], notIn: ["\n\n"]),
    Claim("^(?ms-i:a.^b)$", in: ["a\nb"], notIn: ["a.b", "A\nb"]),
    Claim("^(?)a$", in: ["a"]),
    // Simple case folding of Unicode.
    Claim("^(?i)k$", in: ["k", "K", "\u{212A}"], notIn: ["x"]),
    Claim("^(?i)\u{3C3}$", in: ["\u{3A3}", "\u{3C2}", "\u{3C3}"]),
    Claim("^(?i)stra\u{DF}e$", in: ["STRA\u{1E9E}E", "\u{17F}tra\u{DF}e"], notIn: ["STRASSE"]),
    Claim("^(?i)[i]$", in: ["i", "I"], notIn: ["\u{130}", "\u{131}"]),
    Claim("^(?i)\u{131}$|^(?i)[\u{131}-\u{131}]$", in: ["\u{131}"], notIn: ["i", "I"]),
    Claim("^(?i)[\u{1C4}]$", in: ["\u{1C4}", "\u{1C5}", "\u{1C6}"]),
    Claim("^(?i)[^k-l]$", in: ["a"], notIn: ["k", "L", "\u{212A}"]),
    Claim(#"^(?i)\p{Lu}\P{Lu}$"#, in: ["a1", "A1"], notIn: ["aa", "1a"]),
    Claim(#"^(?i)\w\W$"#, in: ["\u{17F}-"], notIn: ["a\u{212A}", "--"]),
    Claim("^(?i)[[:lower:]]$", in: ["A", "z", "\u{212A}"], notIn: ["1", "\u{C9}"]),
]

/// More steps than any match of these tests takes.
private let enough = 40_000_000

@Test(arguments: claims)
private func findsWhatRE2Finds(_ claim: Claim) throws {
    let expression = try #require(RegularExpression(claim.expression))
    var budget = StepBudget(steps: enough)
    for text in claim.found {
        #expect(try expression.isFound(in: text, &budget), "\(text.debugDescription)")
    }
    for text in claim.missed {
        #expect(try !expression.isFound(in: text, &budget), "\(text.debugDescription)")
    }
}

@Test(arguments: [
    // Missing and unexpected closing brackets.
    "(", ")", "a)", "(a", "((a)", "[", "[a", "[]", "[^]", "[a-", #"[\"#, #"\"#, "(?", "(?i", "(?P<n>a", "(?:",
    // Repetitions of nothing and of repetitions.
    "*", "+a", "?", "{2}", "(*)", "a|*", "(|+)", "(?i)*", "^**", "a**", "a*+", "a++", "a???", "a{2}{3}",
    "a{2}*",
    // Counts.
    "a{2,1}", "a{1001}", "a{0,1001}", "a{1001,}", "a{99999999999999999999}", "(a{1000}){2}",
    "((a{100}){11})", "((a{10}){10,}){11}", "(?:a{1000}b{2}|c){2}",
    // Escapes.
    #"\8"#, #"\q"#, #"\C"#, #"\Z"#, #"\E"#, #"\k"#, #"\x"#, #"\x4"#, #"\xg1"#, #"\x{}"#, #"\x{41"#,
    #"\x{110000}"#, #"\x{-1}"#, "\\\u{E9}", #"\u0041"#, #"[\b]"#,
    // Back references, lookahead and lookbehind.
    #"(a)\1"#, #"\7"#, #"(?P<n>a)(?P=n)"#, "(?=a)", "(?!a)", "(?<=a)", "(?<!a)", "(?>a)", "(?|a)", "a(?#c)",
    // Groups and flags.
    "(?P<>a)", "(?P<n-1>a)", "(?<\u{E9}>a)", "(?'n'a)", "(?x)a", "(?-)", "(?i-)", "(?i--s)", "(?i s)",
    // Classes.
    "[b-a]", #"[a-\d]"#, "[[:foo:]]", "[[:Alpha:]]", "[[:alpha:]", #"\p"#, #"\pX"#, #"\p{"#, #"\p{}"#,
    #"\p{lu}"#,
    #"\p{Luu}"#, #"\p{^}"#, #"[\pX]"#,
])
private func refusesWhatRE2Refuses(_ expression: String) { #expect(RegularExpression(expression) == nil) }

@Test private func supportsNoScripts() { #expect(RegularExpression(#"\p{Greek}"#) == nil) }

@Test(arguments: [
    "((a{1000}){1000})", "(?:a{10}b{10}c{10}){100}(?:a{10}b{10}c{10}){100}", "(?:[a-z]?){1000}(?:abc){1000}",
    "(?:.|.|.|.){500}", String(repeating: "a", count: 5000), String(repeating: "(", count: 2000),
    String(repeating: "(", count: 2000) + String(repeating: ")", count: 2000),
])
private func refusesTooLargeExpressions(_ expression: String) {
    #expect(RegularExpression(expression) == nil)
}

@Test(arguments: [
    // A backtracking matcher needs exponential or quadratic time.
    ("(a+)+$", 4), ("^(a|a)*$", 8), ("(a|aa)+$", 7), ("(.*)*(.*)*[a-z]$", 12), ("^(a?){400}a{400}$", 1202),
    ("(?i)(?:A|\\pL|[^\\d])*b$", 11),
])
private func takesABoundedNumberOfSteps(_ expression: String, _ instructions: Int) throws {
    let compiled = try #require(RegularExpression(expression))
    let text = String(repeating: "a", count: 4095) + "!"
    var budget = StepBudget(steps: enough)
    #expect(try !compiled.isFound(in: text, &budget))
    let steps = enough - budget.steps
    #expect(steps > 4096 && steps <= (2 * (instructions + 1) + 40) * 4097 + 1000, "\(steps)")
}

@Test private func stopsWhenTheBudgetIsSpent() throws {
    let compiled = try #require(RegularExpression("(a|b)*c"))
    let text = String(repeating: "ab", count: 500)
    var budget = StepBudget(steps: 1000)
    #expect(throws: StepBudget.Exhausted.self) { try compiled.isFound(in: text, &budget) }
    #expect(budget.steps < 0)
}
