import Foundation
package import SystemPackage

/// The fenced blocks of a page, so that tests can run what it prints.
package struct MarkdownBlock: Sendable, CustomStringConvertible {
    /// What stands behind the fence: `sh`, `yaml`.
    package let language: String
    package let text: String
    /// The line of the fence, from 1.
    package let line: Int
    /// The heading above.
    package let heading: String

    package var description: String { "\(heading), line \(line)" }

    /// All blocks of a page, in their order.
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

    /// The scripts that CI would run: each `run: |` of GitHub's, and the list of a `script:` of GitLab's as one.
    package var scripts: [String] {
        var scripts = [String]()
        var indentation: Int?
        var isList = false
        for line in text.split(separator: "\n", omittingEmptySubsequences: false) {
            let own = line.prefix { $0 == " " }.count
            if let inside = indentation, own > inside || line.allSatisfy({ $0 == " " }) {
                // The block's own indentation, or the list's dash, is YAML's and not the script's.
                scripts[scripts.count - 1] += line.dropFirst(inside + (isList ? 4 : 2)) + "\n"
                continue
            }
            indentation = nil
            let key = line.drop { " -".contains($0) }
            guard key == "run: |" || key == "script:" else { continue }
            // What follows a dash is as deep as what stands below it.
            indentation = line.count - key.count
            isList = key == "script:"
            scripts.append("")
        }
        return scripts
    }
}
