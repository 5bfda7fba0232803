package import SystemPackage

/// A manual page as man(1) renders it.
package struct RenderedManual {
    package let text: String

    /// - Parameter page: the source.
    /// - Precondition: man(1) is installed.
    package init(_ page: FilePath) throws {
        text = try Command.run(
            "man", "-l", page.string,
            environment: ["LC_ALL": "C.UTF-8", "MANWIDTH": "200", "MAN_KEEP_FORMATTING": ""]
        ).succeed().text
    }

    /// The text of a section; nil if the section is missing or empty.
    package func section(_ title: String) -> String? {
        guard let start = text.firstRange(of: "\n\(title)\n")?.upperBound else { return nil }
        // All lines but titles are indented.
        let lines = text[start...].split(separator: "\n", omittingEmptySubsequences: false)
            .prefix { $0.isEmpty || $0.hasPrefix(" ") }
        return lines.first?.hasPrefix("       ") == true ? lines.joined(separator: "\n") : nil
    }

    package var words: Set<Substring> { Set(Self.words(text)) }

    package static func words(_ text: String) -> [Substring] { text.split { " ,()\n".contains($0) } }

    /// Warnings of groff(1) and man(1) about a page, if these are installed.
    package static func complaints(of page: FilePath) throws -> String {
        var complaints = ""
        if TestEnvironment.has("groff") {
            complaints += try Command.run("groff", "-ww", "-man", "-z", "-Tutf8", page.string).succeed()
                .errorText
        }
        if TestEnvironment.has("man") {
            complaints += try Command.run(
                "man", "--warnings", "-l", page.string, environment: ["LC_ALL": "C.UTF-8", "MANWIDTH": "80"]
            ).succeed().errorText
        }
        return complaints
    }
}
