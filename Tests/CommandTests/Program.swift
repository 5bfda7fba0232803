import Foundation
import Glibc
import Kernel
import SystemPackage
import TestSupport
import Testing

/// What may keep the layers, as `--snapshotter` has it.
enum Snapshotter: String, CaseIterable, CustomTestStringConvertible {
    case overlayfs, native, btrfs, loop

    var testDescription: String { rawValue }

    /// Those that this machine has what it takes for.
    static let possible = allCases.filter { snapshotter in
        let chosen = ProcessInfo.processInfo.environment["UNPACK_TEST_SNAPSHOTTERS"]
        guard chosen?.split(separator: ",").contains(Substring(snapshotter.rawValue)) ?? true else {
            return false
        }
        return switch snapshotter {
        case .overlayfs: Ability.canMountOverlay
        case .native: Ability.canMountOverlay
        case .btrfs: Ability.canMountOverlay && Ability.canMountBtrfs
        case .loop: Ability.canMountOverlay && Ability.canMountExt4
        }
    }
}

/// The built program, run as a user runs it.
struct Program {
    static let path = Built.program("unpack")

    static let fixtures = Built.repository.appending("Fixtures")

    /// A store, a place to mount it, and images, all of one test's own.
    let scratch: TemporaryDirectory
    let root: FilePath
    let target: FilePath
    /// What keeps the store's snapshots.
    let snapshotter: Snapshotter
    private let fileSystem: LoopFileSystem?

    init(_ snapshotter: Snapshotter = .overlayfs) throws {
        self.snapshotter = snapshotter
        fileSystem = snapshotter == .btrfs ? try LoopFileSystem(type: "btrfs", megabytes: 1000) : nil
        // Short: a path of a layer stands in every mount line.
        scratch = try TemporaryDirectory(in: try fileSystem?.path ?? #require(Ability.scratch))
        root = scratch.path.appending("s")
        target = try scratch.makeDirectory("m")
    }

    /// With its store and images in a directory of a file system that lives as long as the test needs it.
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

    /// Starts it, and goes on.
    func start(_ arguments: String...) throws -> RunningCommand { try start(arguments) }

    func start(_ arguments: [String]) throws -> RunningCommand {
        try RunningCommand([Self.path.string] + arguments, environment: environment)
    }

    private var environment: [String: String] {
        var environment = ["UNPACK_ROOT": root.string, "UNPACK_SNAPSHOTTER": snapshotter.rawValue]
        // The machine's own settings are not the tests'.
        environment["UNPACK_CONFIG"] = ""
        environment["UNPACK_JOBS"] = ProcessInfo.processInfo.environment["UNPACK_TEST_JOBS"]
        return environment
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
        defer { try? unmountWhenFree(target) }
        return try body(try Directory(opening: target))
    }

    func tree(_ line: String) throws -> TreeDump { try mounted(line) { try TreeDump(of: $0) } }

    /// Where its snapshots lie.
    var folder: FilePath { root.appending(snapshotter.rawValue) }

    /// Everything in the store but the database's own files, to see whether a run has changed it.
    func storeDump() throws -> String {
        try TreeDump(of: try Directory(opening: folder)).text
    }

    func rows(_ query: String) throws -> String {
        try Command.run("sqlite3", root.appending("metadata.db").string, query).succeed().text
    }

    /// Whether a failed run left anything that only an unfinished one may have.
    func expectClean() throws {
        #expect(try rows("SELECT count(*) FROM snapshot WHERE kind != 'committed'") == "0\n")
        #expect(try rows("SELECT count(*) FROM image") == "0\n")
        try expectNothingLeftOver()
    }

    /// Each snapshot has its directory, and there is nothing else: no process left anything behind.
    func expectNothingLeftOver() throws {
        let names = try Directory(opening: folder).names().map(\.description).filter {
            // loop keeps an empty file system in a file.
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

extension TreeDump {
    /// Lines that only one of two trees has, for a test that fails.
    func difference(from other: TreeDump) -> String {
        let own = Set(lines)
        let others = Set(other.lines)
        return
            (lines.filter { !others.contains($0) }.map { "+ " + $0 }
            + other.lines.filter { !own.contains($0) }.map { "- " + $0 }).prefix(40).joined(separator: "\n")
    }
}
