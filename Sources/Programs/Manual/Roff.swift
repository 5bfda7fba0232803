internal import Kernel

/// A text in man(7) macros.
package struct Roff {
    package private(set) var text: String

    package init(_ name: String, section: Int) {
        text = ".TH \(Self.escape(name.uppercased())) \(section) \"\" \"unpack \(Version.number)\"\n"
        // No hyphenation and no justification: commands and quotations keep their form.
        text += ".nh\n.ad l\n"
    }

    package mutating func section(_ title: String, _ body: String? = nil) {
        text += ".SH \(title)\n"
        if let body { line(body) }
    }

    package mutating func usage(_ bold: String, _ rest: String) {
        text += ".B \(Self.escape(bold))\n\(Self.escape(rest))\n.br\n"
    }

    package mutating func item(_ title: String, _ body: String) {
        text += ".TP\n.B \(Self.escape(title))\n"
        line(body)
    }

    package mutating func example(_ command: String, _ meaning: String) {
        text += ".PP\n"
        line(meaning)
        verbatim([command[...]])
    }

    /// Appends paragraphs separated by empty lines. A paragraph indented by two spaces is verbatim.
    package mutating func prose(_ body: String) {
        var isFirst = true
        for paragraph in body.split(separator: "\n\n") {
            let lines = paragraph.split(separator: "\n")
            if !isFirst { text += ".PP\n" }
            isFirst = false
            if lines.allSatisfy({ $0.hasPrefix("  ") }) {
                verbatim(lines.map { $0.dropFirst(2) })
            } else {
                for each in lines { line(String(each)) }
            }
        }
    }

    private mutating func verbatim(_ lines: [Substring]) {
        text += ".RS 4\n.nf\n"
        for each in lines { line(String(each)) }
        text += ".fi\n.RE\n"
    }

    private mutating func line(_ body: String) { text += Self.escape(body) + "\n" }

    private static func escape(_ text: String) -> String {
        var escaped = text.first.map { ".'".contains($0) } == true ? "\\&" : ""
        for scalar in text.unicodeScalars {
            switch scalar {
            case "\\": escaped += "\\e"
            case "-": escaped += "\\-"
            case "~": escaped += "\\(ti"
            case "^": escaped += "\\(ha"
            case "`": escaped += "\\(ga"
            case "'": escaped += "\\(aq"
            default:
                if scalar.isASCII {
                    escaped.unicodeScalars.append(scalar)
                } else {
                    let hex = String(scalar.value, radix: 16, uppercase: true, minimumDigits: 4)
                    escaped += "\\[u\(hex)]"
                }
            }
        }
        return escaped
    }
}
