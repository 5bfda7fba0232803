import Foundation
import SystemPackage
import TestSupport
import Testing

/// The manual pages, compared with the program's help.
@Suite("Manual")
struct ManualTests {
    private let scratch: TemporaryDirectory

    init() throws {
        scratch = try TemporaryDirectory()
        try Command.run(Program.path.string, "generate-manual", scratch.path.string).succeed()
    }

    /// A command and its subcommands in the parser's dump.
    private struct Tree: Decodable {
        let commandName: String
        let shouldDisplay: Bool?
        let subcommands: [Tree]?

        func shown(below parents: [String] = []) -> [[String]] {
            if shouldDisplay == false || commandName == "help" { return [] }
            let words = parents + [commandName]
            return [words] + (subcommands ?? []).flatMap { $0.shown(below: words) }
        }
    }

    private func commands() throws -> [[String]] {
        struct Dump: Decodable {
            let command: Tree
        }
        let json = try Command.run(Program.path.string, "--experimental-dump-help").succeed().output
        return try JSONDecoder().decode(Dump.self, from: Data(json)).command.shown()
    }

    private var pages: [String] {
        get throws { try FileManager.default.contentsOfDirectory(atPath: scratch.path.string).sorted() }
    }

    @Test("Every command has a manual page, and there is no other page")
    func names() throws {
        let names = try commands().map { $0.joined(separator: "-") + ".1" }
        #expect(names.count > 15)
        #expect(try pages == (names + ["unpack.toml.5"]).sorted())
    }

    @Test("Every page has the version that --version prints")
    func version() throws {
        let said = try Command.run(Program.path.string, "--version").succeed().text
        let version = said.prefix { $0 != "\n" }
        for page in try pages {
            let text = try String(contentsOfFile: scratch.path.appending(page).string, encoding: .utf8)
            let header = text.prefix { $0 != "\n" }
            #expect(header.hasPrefix(".TH ") && header.hasSuffix("\"\(version)\""), "\(page)")
        }
    }

    @Test(
        "Every flag in --help is in the manual page, which has examples",
        .enabled(if: TestEnvironment.has("man"), "needs man-db"))
    func flags() throws {
        for words in try commands() {
            let help = try Command.run([Program.path.string] + words.dropFirst() + ["--help"]).succeed().text
            let page = try rendered(words.joined(separator: "-") + ".1")
            let options = help.components(separatedBy: "\nOPTIONS:\n").last ?? ""
            let flags = RenderedManual.words(options).filter { $0.hasPrefix("-") }
            #expect(flags.contains("--help"), "\(words)")
            #expect(page.words.isSuperset(of: flags), "\(words)")
            for title in ["EXIT STATUS", "ENVIRONMENT", "FILES", "EXAMPLES", "SEE ALSO"] {
                #expect(page.section(title) != nil, "\(words): \(title)")
            }
        }
        let page = try rendered("unpack.toml.5")
        let settings = try Command.run(
            Program.path.string, "config", environment: ["UNPACK_CONFIG": ""]
        ).succeed().text
        for line in settings.split(separator: "\n").dropFirst() {
            let key = try #require(line.split(separator: " ").first)
            #expect(page.text.contains("--\(key);"), "\(key)")
        }
    }

    @Test(
        "The exit statuses are those of docs/exit-codes.md",
        .enabled(if: TestEnvironment.has("man"), "needs man-db"))
    func exitStatuses() throws {
        let table = try String(
            contentsOfFile: Program.fixtures.appending("../docs/exit-codes.md").string, encoding: .utf8)
        let documented = table.split(separator: "\n").filter { $0.hasPrefix("| ") }
            .compactMap { $0.split(separator: "|").first?.trimmingCharacters(in: .whitespaces) }
            .filter { $0.first?.isNumber == true }
        #expect(documented.count > 8)
        let section = try #require(try rendered("unpack.1").section("EXIT STATUS"))
        let statuses = section.split(separator: "\n").compactMap { line in
            line.prefixMatch(of: #/ {7}([0-9, ]*[0-9])/#).map { String($0.output.1) }
        }
        #expect(statuses == documented)
    }

    @Test(
        "groff and man report no warnings for a page",
        .enabled(if: TestEnvironment.has("groff"), "needs groff"))
    func warnings() throws {
        for page in try pages {
            #expect(try RenderedManual.complaints(of: scratch.path.appending(page)) == "", "\(page)")
        }
    }

    private func rendered(_ page: String) throws -> RenderedManual {
        try RenderedManual(scratch.path.appending(page))
    }
}
