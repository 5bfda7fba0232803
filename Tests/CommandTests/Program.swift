import Foundation
import Glibc
import Kernel
import SystemPackage
import TestSupport
import Testing

/// The built program, run as a user runs it.
struct Program {
    /// Beside the test bundle, where SwiftPM puts everything that it builds.
    static let path: FilePath = {
        let folder = FilePath(ProcessInfo.processInfo.arguments[0]).removingLastComponent()
        let candidates = [folder, folder.appending(".."), FilePath(Bundle.main.bundlePath)]
        let found = candidates.map { $0.appending("unpack") }.first {
            FileManager.default.isExecutableFile(atPath: $0.string)
        }
        return found ?? "unpack"
    }()

    static let fixtures = FilePath(#filePath).removingLastComponent().appending("../../Fixtures")
        .lexicallyNormalized()

    /// A store, a place to mount it, and images, all of one test's own.
    let scratch: TemporaryDirectory
    let root: FilePath
    let target: FilePath

    init() throws {
        // Short: a path of a layer stands in every mount line.
        scratch = try TemporaryDirectory(in: try #require(Ability.scratch))
        root = scratch.path.appending("s")
        target = try scratch.makeDirectory("m")
    }

    func run(_ arguments: String..., timeout: Double = 120) throws -> Command {
        try run(arguments, timeout: timeout)
    }

    func run(_ arguments: [String], timeout: Double = 120) throws -> Command {
        try Command.run(
            [Self.path.string] + arguments, environment: ["UNPACK_ROOT": root.string],
            timeout: timeout)
    }

    /// What the program prints for an image: one line.
    func line(_ arguments: String...) throws -> String {
        let text = try run(arguments).succeed().text
        #expect(text.hasSuffix("\n") && text.filter { $0 == "\n" }.count == 1, "not one line: \(text)")
        return String(text.dropLast())
    }

    /// Mounts a line as a shell would, unquoted, and looks at it.
    func mounted<Value>(_ line: String, _ body: (Directory) throws -> Value) throws -> Value {
        try Command.run("sh", "-ec", "\(line) \(target)").succeed()
        defer { _ = try? Command.run("umount", target.string).succeed() }
        return try body(try Directory(opening: target))
    }

    func tree(_ line: String) throws -> TreeDump { try mounted(line) { try TreeDump(of: $0) } }

    /// Everything in the store but the database's own files, to see whether a run has changed it.
    func storeDump() throws -> String {
        try TreeDump(of: try Directory(opening: root.appending("overlayfs"))).text
    }

    func rows(_ query: String) throws -> String {
        try Command.run("sqlite3", root.appending("metadata.db").string, query).succeed().text
    }

    /// Whether a failed run left anything that only an unfinished one may have.
    func expectClean() throws {
        #expect(try rows("SELECT count(*) FROM snapshot WHERE kind != 'committed'") == "0\n")
        #expect(try rows("SELECT count(*) FROM image") == "0\n")
        let directories = try Directory(opening: root.appending("overlayfs")).names().count
        #expect(try rows("SELECT count(*) FROM snapshot") == "\(directories)\n")
        #expect(try Directory(opening: root.appending("runs")).names().isEmpty)
    }

    /// An image made in code, as the only one of its layout.
    func image(_ layers: [LayerBuilder], packing: Packing = .gzip) throws -> ImageBuilder {
        let builder = try ImageBuilder(at: scratch.path.appending("i-\(UInt32.random(in: .min ... .max))"))
        try builder.writeIndex([try builder.image(layers, packing: packing)])
        return builder
    }
}

extension String {
    /// Whether it is all of a pattern's, in which `*` stands for anything within a line.
    func matches(_ pattern: String) -> Bool {
        let expression = pattern.components(separatedBy: "*").map(NSRegularExpression.escapedPattern(for:))
            .joined(separator: "[^\\n]*")
        return range(of: "^" + expression + "$", options: .regularExpression) == startIndex..<endIndex
    }
}
