import Foundation
package import SystemPackage

/// A fenced code block of a page, so that tests can run what the page prints.
package struct MarkdownBlock: Sendable, CustomStringConvertible {
    /// The info string of the fence: `sh`, `yaml`.
    package let language: String
    package let text: String
    /// Line number of the fence, from 1.
    package let line: Int
    /// The heading above the block.
    package let heading: String

    package var description: String { "\(heading), line \(line)" }

    /// All blocks of a page, in order.
    package static func all(in page: FilePath) throws -> [MarkdownBlock] {
        var blocks = [MarkdownBlock]()
        var heading = ""
        var open: (language: String, line: Int, lines: [Substring])?
        let text = try String(contentsOfFile: page.string, encoding: .utf8)
        for (index, line) in text.split(separator: "\n", omittingEmptySubsequences: false).enumerated() {
            switch (open, line.hasPrefix("```")) {
            case (nil, true): open = (String(line.dropFirst(3)), index + 1, [])
            case (nil, false): if line.hasPrefix("#") { heading = String(line.drop { "# ".contains($0) }) }
            case (let block?, true):
                let text = block.lines.map { $0 + "\n" }.joined()
                blocks.append(
                    MarkdownBlock(language: block.language, text: text, line: block.line, heading: heading))
                open = nil
            case (_?, false): open?.lines.append(line)
            }
        }
        return blocks
    }

    /// The scripts that CI would run: each `run: |` of GitHub, and each list under `script:` of GitLab as one script.
    package var scripts: [String] {
        var scripts = [String]()
        var indentation: Int?
        var isList = false
        for line in text.split(separator: "\n", omittingEmptySubsequences: false) {
            let own = line.prefix { $0 == " " }.count
            if let inside = indentation, own > inside || line.allSatisfy({ $0 == " " }) {
                // The indentation of the block and the dash of the list belong to YAML, not to the script.
                scripts[scripts.count - 1] += line.dropFirst(inside + (isList ? 4 : 2)) + "\n"
                continue
            }
            indentation = nil
            let key = line.drop { " -".contains($0) }
            guard key == "run: |" || key == "script:" else { continue }
            // The text after a dash has the same indentation as the lines below it.
            indentation = line.count - key.count
            isList = key == "script:"
            scripts.append("")
        }
        return scripts
    }
}
