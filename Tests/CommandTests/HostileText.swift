import Foundation
import Kernel
import SystemPackage
import TestSupport
import Testing

/// Texts of a user, an image or a client that a shell, a terminal or another reader of lines would interpret. A shell
/// that executes one creates the file `canary`.
enum HostileText {
    /// One character or construct per text, for fast checks.
    static let forShells = [
        "x;touch${IFS}canary;echo", "$(touch canary)", "`touch canary`", "a b", "a;touch canary",
        "a&touch canary&",
        "a|touch canary", "a>canary", "a'b;touch canary;'", #"a"b"#, "50%n", "#a", "a*", "~", #"a\"#, "{a,b}",
    ]
    static let forTerminals = [
        "\u{1B}[31ma\u{9B}31mb\u{202E}c\u{2066}d\u{7F}e\u{85}f\u{2028}g", "a\nhint: touch canary",
        "a\r\n\ttouch canary\r\nhint: touch canary\n",
    ]
    static let all = forShells + forTerminals
    /// The same in few texts, for slow checks.
    static let few =
        [
            "x;touch${IFS}canary;echo $(touch canary) `touch canary` & touch canary | touch canary > canary #",
            #"~ 50%n* {a,b} "a" '; touch canary; '\"#,
        ] + forTerminals
}

extension Command {
    /// Expects that the output has no character that controls a terminal.
    func expectVisible(_ location: SourceLocation = #_sourceLocation) {
        for bytes in [output, errors] {
            guard let text = String(validating: bytes, as: UTF8.self) else {
                Issue.record("not UTF-8: \(report.debugDescription)", sourceLocation: location)
                continue
            }
            let hidden = text.unicodeScalars.filter { !isPrintable($0) && $0 != "\n" && $0 != "\t" }
            #expect(hidden.isEmpty, "\(report.debugDescription)", sourceLocation: location)
            let lines = text.split(separator: "\n").map { $0.drop { $0 == " " || $0 == "\t" } }
            #expect(
                !lines.contains { $0.hasPrefix("hint: touch canary") || $0.hasPrefix("touch canary") },
                "\(report.debugDescription)", sourceLocation: location)
        }
    }

    var json: Any {
        get throws { try JSONSerialization.jsonObject(with: Data(output), options: .fragmentsAllowed) }
    }
}

/// A suite that runs the program with hostile texts.
protocol HostileTextSuite {
    var program: Program { get }
    /// The working directory, in which a canary would appear.
    var folder: FilePath { get }
}

extension HostileTextSuite {
    static var busybox: String { Program.fixtures.appending("busybox").string }

    @discardableResult
    func run(
        _ arguments: [String], input: [UInt8] = [], environment: [String: String] = [:]
    ) throws -> Command {
        var all = ["UNPACK_ROOT": program.root.string, "UNPACK_CONFIG": ""]
        all.merge(environment) { $1 }
        return try Command.run(
            [Program.path.string] + arguments, input: input, environment: all, in: folder, timeout: 120)
    }

    func expectNoCanary(_ what: String, _ location: SourceLocation = #_sourceLocation) {
        let names = (try? FileManager.default.subpathsOfDirectory(atPath: program.scratch.path.string)) ?? []
        #expect(
            !names.contains { FilePath($0).lastComponent?.string == "canary" }, "\(what.debugDescription)",
            sourceLocation: location)
    }

    /// The words into which a shell splits a line, in both documented forms: `$(…)` and `sh -ec`.
    func words(_ line: String) throws -> [String] {
        let file = try program.scratch.write("line", Array(line.utf8))
        let substituted = try Command.run(
            "sh", "-c", #"printf '%s\n' $(cat "$0")"#, file.string, in: folder
        ).succeed().text
        let evaluated = try Command.run(
            "sh", "-ec", #"words() { printf '%s\n' "$@"; }; eval "words $(cat "$0")""#, file.string,
            in: folder
        ).succeed().text
        #expect(substituted == evaluated)
        expectNoCanary(line)
        return substituted.split(separator: "\n", omittingEmptySubsequences: false).dropLast().map(
            String.init)
    }
}
