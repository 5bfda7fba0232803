import Foundation
import Glibc
import Kernel
import SystemPackage
import TestSupport
import Testing

/// The values of `--snapshotter`.
enum Snapshotter: String, CaseIterable, CustomTestStringConvertible {
    case overlayfs, native, btrfs, loop, erofs

    var testDescription: String { rawValue }

    /// The snapshotters that work on this machine, of those in `UNPACK_TEST_SNAPSHOTTERS` if it is set.
    static let possible = allCases.filter { snapshotter in
        let chosen = ProcessInfo.processInfo.environment["UNPACK_TEST_SNAPSHOTTERS"]
        guard chosen?.split(separator: ",").contains(Substring(snapshotter.rawValue)) ?? true else {
            return false
        }
        return switch snapshotter {
        case .overlayfs: TestEnvironment.canMountOverlay
        case .native: TestEnvironment.canMountOverlay
        case .btrfs: TestEnvironment.canMountOverlay && TestEnvironment.canMountBtrfs
        case .loop: TestEnvironment.canMountOverlay && TestEnvironment.canMountExt4
        case .erofs: TestEnvironment.canMountOverlay && TestEnvironment.canMountErofs
        }
    }
}

/// The built program, with a store and a target of its own.
struct Program {
    static let path = Built.program("unpack")

    static let fixtures = Built.repository.appending("Fixtures")

    /// A directory for the store, the target and the images of one test.
    let scratch: TemporaryDirectory
    let root: FilePath
    let target: FilePath
    /// The snapshotter of the store.
    let snapshotter: Snapshotter
    private let fileSystem: LoopFileSystem?

    init(_ snapshotter: Snapshotter = .overlayfs) throws {
        self.snapshotter = snapshotter
        fileSystem = snapshotter == .btrfs ? try LoopFileSystem(type: "btrfs", megabytes: 1000) : nil
        // Short names, because mount lines have the path of every layer.
        scratch = try TemporaryDirectory(in: try fileSystem?.path ?? #require(TestEnvironment.scratch))
        root = scratch.path.appending("s")
        target = try scratch.makeDirectory("m")
    }

    /// - Parameter place: a directory for the scratch directory. It must exist for as long as the instance.
    init(_ snapshotter: Snapshotter, in place: FilePath) throws {
        self.snapshotter = snapshotter
        fileSystem = nil
        scratch = try TemporaryDirectory(in: place)
        root = scratch.path.appending("s")
        target = try scratch.makeDirectory("m")
    }

    func run(_ arguments: String..., timeout: Double = 120) throws -> Command {
        try run(arguments, timeout: timeout)
    }

    func run(_ arguments: [String], timeout: Double = 120) throws -> Command {
        try Command.run([Self.path.string] + arguments, environment: environment, timeout: timeout)
    }

    /// Starts the program without waiting for its end.
    func start(_ arguments: String...) throws -> RunningCommand { try start(arguments) }

    func start(_ arguments: [String]) throws -> RunningCommand {
        try RunningCommand([Self.path.string] + arguments, environment: environment)
    }

    private var environment: [String: String] {
        var environment = ["UNPACK_ROOT": root.string, "UNPACK_SNAPSHOTTER": snapshotter.rawValue]
        // The machine's configuration file does not affect tests.
        environment["UNPACK_CONFIG"] = ""
        environment["UNPACK_JOBS"] = ProcessInfo.processInfo.environment["UNPACK_TEST_JOBS"]
        return environment
    }

    /// Runs the program, and returns the one line that it prints.
    func line(_ arguments: String...) throws -> String {
        let text = try run(arguments).succeed().text
        #expect(text.hasSuffix("\n") && text.filter { $0 == "\n" }.count == 1, "not one line: \(text)")
        return String(text.dropLast())
    }

    /// Runs a mount line in a shell, unquoted, and calls `body` with the mounted directory.
    func mounted<Value>(_ line: String, _ body: (Directory) throws -> Value) throws -> Value {
        try Command.run("sh", "-ec", "\(line) \(target)").succeed()
        defer { try? unmountWhenFree(target) }
        return try body(try Directory(opening: target))
    }

    func tree(_ line: String) throws -> TreeDump { try mounted(line) { try TreeDump(of: $0) } }

    /// The directory with the snapshots.
    var folder: FilePath { root.appending(snapshotter.rawValue) }

    /// A text of everything in the store but the database's files, to detect changes.
    func storeDump() throws -> String {
        try TreeDump(of: try Directory(opening: folder)).text
    }

    func rows(_ query: String) throws -> String {
        try Command.run("sqlite3", root.appending("metadata.db").string, query).succeed().text
    }

    /// Expects that a failed run has left no unfinished snapshot.
    func expectClean() throws {
        #expect(try rows("SELECT count(*) FROM snapshot WHERE kind != 'committed'") == "0\n")
        #expect(try rows("SELECT count(*) FROM image") == "0\n")
        try expectNothingLeftOver()
    }

    /// Expects that each snapshot has a directory, and that there are no other directories.
    func expectNothingLeftOver() throws {
        let names = try Directory(opening: folder).names().map(\.description).filter {
            // loop has a template of an empty file system in a file.
            Int($0) != nil || $0.hasPrefix(".")
        }
        let ids = try rows(
            "SELECT id FROM snapshot WHERE snapshotter = '\(snapshotter.rawValue)'"
        ).split(separator: "\n")
        #expect(Set(names) == Set(ids.map(String.init)) && names.count == ids.count)
        #expect(try rows("SELECT count(*) FROM snapshot WHERE run IS NOT NULL") == "0\n")
        #expect(try rows("SELECT count(*) FROM pin") == "0\n")
        #expect(try Directory(opening: root.appending("runs")).names().isEmpty)
    }

    /// Builds a layout with one image.
    func image(_ layers: [LayerBuilder], packing: Packing = .gzip) throws -> ImageBuilder {
        let builder = try ImageBuilder(at: scratch.path.appending("i-\(UInt32.random(in: .min ... .max))"))
        try builder.writeIndex([try builder.image(layers, packing: packing)])
        return builder
    }
}

extension String {
    /// Whether the whole text matches a pattern, in which `*` stands for any text within a line.
    func matches(_ pattern: String) -> Bool {
        let expression = pattern.components(separatedBy: "*").map(NSRegularExpression.escapedPattern(for:))
            .joined(separator: "[^\\n]*")
        return range(of: "^" + expression + "$", options: .regularExpression) == startIndex..<endIndex
    }
}

extension TreeDump {
    /// The lines that only one of two trees has, for failure messages.
    func difference(from other: TreeDump) -> String {
        let own = Set(lines)
        let others = Set(other.lines)
        return
            (lines.filter { !others.contains($0) }.map { "+ " + $0 }
            + other.lines.filter { !own.contains($0) }.map { "- " + $0 }).prefix(40).joined(separator: "\n")
    }
}
