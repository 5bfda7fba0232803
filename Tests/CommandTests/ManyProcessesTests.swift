import Foundation
import Kernel
import SystemPackage
import TestSupport
import Testing

@Suite(
    "Many processes on one store",
    .enabled(if: TestEnvironment.canMountOverlay, "needs root and overlay mounts"))
struct ManyProcessesTests {
    @Test(
        "Eight processes unpack four images that share layers: each layer once, and each line mounts its image",
        arguments: Snapshotter.possible)
    func overlapping(snapshotter: Snapshotter) throws {
        let program = try Program(snapshotter)
        let crowd = try Crowd(program)
        let expected = try Crowd.treesMadeAlone.get()
        let commands = try RunningCommand.finish(try crowd.start())
        try crowd.expectSuccess(commands, expected)
        try crowd.expectEachChainOnce()
        try program.expectNothingLeftOver()
    }

    @Test(
        "One of them is killed at any moment: the others finish, and it leaves nothing",
        arguments: Snapshotter.possible)
    func killed(snapshotter: Snapshotter) throws {
        let expected = try Crowd.treesMadeAlone.get()
        for round in 1...(snapshotter == .overlayfs ? 3 : 1) {
            let program = try Program(snapshotter)
            let crowd = try Crowd(program)
            let all = try crowd.start()
            let victim = Int.random(in: all.indices)
            let delay = Double.random(in: 0.01...0.8)
            Process.sleep(milliseconds: UInt32(delay * 1000))
            all[victim].kill()
            let commands = try RunningCommand.finish(all)
            #expect([0, 137].contains(commands[victim].status), "\(commands[victim].report)")
            let others = commands.enumerated().filter { $0.offset != victim }
            for (_, command) in others {
                #expect(command.status == 0, "round \(round), after \(delay) s: \(command.report)")
            }
            // The next runs share the finished layers, and remove unfinished ones.
            let again = try RunningCommand.finish(try crowd.start())
            try crowd.expectSuccess(again, expected)
            _ = try program.run("prune").succeed()
            try crowd.expectEachChainOnce()
            try program.expectNothingLeftOver()
        }
    }

    @Test("Two processes, with one job and with eight, never deadlock")
    func rounds() throws {
        let text = ProcessInfo.processInfo.environment["UNPACK_ROUNDS"]
        let rounds = text.flatMap(Int.init) ?? 40
        let program = try Program()
        let image = try program.image(
            (1...5).map { LayerBuilder(.file(Bytes("f\($0)"), "x"), .hardLink(Bytes("h\($0)"), to: "f1")) })
        for round in 1...rounds {
            let root = program.scratch.path.appending("r\(round)").string
            let both = try ["1", "8"].map {
                try program.start(image.path.string, "-q", "--root", root, "--jobs", $0)
            }
            let commands = try RunningCommand.finish(both, timeout: 30)
            for command in commands { #expect(command.status == 0, "round \(round): \(command.report)") }
            #expect(commands[0].text == commands[1].text && !commands[0].text.isEmpty)
            try FileManager.default.removeItem(atPath: root)
        }
    }

    @Test("Concurrent pruning removes nothing that a running unpack needs", arguments: Snapshotter.possible)
    func pruning(snapshotter: Snapshotter) throws {
        let expected = try Crowd.treesMadeAlone.get()
        let program = try Program(snapshotter)
        let crowd = try Crowd(program)
        let all = try crowd.start()
        var prunes = 0
        repeat {
            let prune = try program.run("prune")
            #expect(prune.status == 0, "\(prune.report)")
            prunes += 1
        } while all.contains(where: \.isRunning)
        try crowd.expectSuccess(try RunningCommand.finish(all), expected)
        #expect(prunes > 1)
        try crowd.expectEachChainOnce()
        try program.expectNothingLeftOver()
    }

    @Test(
        "An image is removed while another one with the same layers is unpacked, which then mounts",
        arguments: Snapshotter.possible)
    func removing(snapshotter: Snapshotter) throws {
        let expected = try Crowd.treesMadeAlone.get()
        let program = try Program(snapshotter)
        let crowd = try Crowd(program)
        for round in 1...(snapshotter == .overlayfs ? 5 : 2) {
            _ = try crowd.start(0).finish().succeed()
            let rm = try program.start("rm", crowd.reference(0))
            // Either of them may start first.
            if round.isMultiple(of: 2) { Process.sleep(milliseconds: UInt32.random(in: 0...30)) }
            let both = [rm, try crowd.start(1), try program.start("prune")]
            let commands = try RunningCommand.finish(both)
            for command in commands { #expect(command.status == 0, "round \(round): \(command.report)") }
            #expect(try program.tree(commands[1].line) == expected[1])
            #expect(try program.rows("SELECT name FROM image_name") == crowd.reference(1) + "\n")
            _ = try program.run("rm", crowd.reference(1)).succeed()
            #expect(try program.rows("SELECT count(*) FROM snapshot") == "0\n")
            try program.expectNothingLeftOver()
        }
    }

    @Test("Reading a store works while other processes add and remove snapshots")
    func reading() throws {
        let program = try Program()
        let crowd = try Crowd(program)
        _ = try crowd.start(0).finish().succeed()
        let questions = [
            ["images"], ["images", "--json"], ["snapshot", "ls"], ["snapshot", "tree"],
            ["snapshot", "usage"],
            ["prune", "--dry-run"], ["verify"],
        ]
        for round in 1...3 {
            let changing =
                try [
                    program.start("rm", crowd.reference(round % 4)),
                    program.start("snapshot", "prepare", "work-\(round)"),
                ] + (0..<4).map { try crowd.start($0) }
            var asked = 0
            repeat {
                let all = try questions.map { try program.start($0) }
                for command in try RunningCommand.finish(all) {
                    #expect(command.status == 0, "round \(round): \(command.report)")
                }
                asked += 1
                if asked.isMultiple(of: 2) { _ = try program.run("rm", crowd.reference(asked % 4)) }
            } while changing.contains(where: \.isRunning)
            for command in try RunningCommand.finish(changing) {
                #expect([0, 66].contains(command.status), "\(command.report)")
            }
            _ = try program.run("snapshot", "rm", "work-\(round)").succeed()
            for image in 0..<4 { _ = try program.run("rm", crowd.reference(image)) }
        }
    }

    @Test("An image can be unpacked while other processes keep removing it")
    func removingTheSame() throws {
        let program = try Program()
        let crowd = try Crowd(program)
        let end = Date() + 2
        var isOver: Bool { Date() > end }
        repeat {
            let both = [try crowd.start(3), try crowd.start(3), try program.start("rm", crowd.reference(3))]
            let commands = try RunningCommand.finish(both)
            for command in commands.prefix(2) { #expect(command.status == 0, "\(command.report)") }
            #expect([0, 66].contains(commands[2].status), "\(commands[2].report)")
        } while !isOver
    }

    @Test(
        "Processes that request the same writable snapshot create it once, also if one is killed",
        arguments: Snapshotter.possible)
    func sameKey(snapshotter: Snapshotter) throws {
        let program = try Program(snapshotter)
        let crowd = try Crowd(program)
        for round in 1...3 {
            let all = try (1...4).map { _ in try crowd.start(2, "--rw", "key-\(round)") }
            if round > 1 {
                Process.sleep(milliseconds: UInt32.random(in: 5...60))
                all[0].kill()
            }
            let commands = try RunningCommand.finish(all)
            for command in commands.dropFirst(round > 1 ? 1 : 0) {
                #expect(command.status == 0, "round \(round): \(command.report)")
                #expect(command.text == commands[3].text)
            }
            #expect(try program.tree(commands[3].line) == Crowd.treesMadeAlone.get()[2])
        }
        #expect(try program.rows("SELECT count(*) FROM snapshot WHERE kind = 'active'") == "3\n")
        _ = try program.run("prune").succeed()
        try program.expectNothingLeftOver()
    }

    @Test(
        "Pruning and removing images keep the layers of a writable snapshot", arguments: Snapshotter.possible
    )
    func writable(snapshotter: Snapshotter) throws {
        let program = try Program(snapshotter)
        let crowd = try Crowd(program)
        let expected = try program.tree(try crowd.start(2).finish().succeed().line)
        let all = try (1...4).map { try crowd.start(2, "--rw", "key-\($0)") }
        let rm = try program.start("rm", crowd.reference(2))
        repeat { _ = try program.run("prune").succeed() } while all.contains(where: \.isRunning)
        let commands = try RunningCommand.finish(all)
        _ = try rm.finish().succeed()
        _ = try program.run("rm", crowd.reference(2))
        _ = try program.run("prune").succeed()
        for command in commands {
            #expect(command.status == 0, "\(command.report)")
            #expect(try program.tree(command.line) == expected)
        }
    }
}

/// Four images that share layers, and two processes for each.
private struct Crowd {
    private let program: Program
    private let layout: FilePath

    /// Layers, one letter each, the lowest first. Images share their lowest layers.
    private static let images = ["lmnab", "lmnac", "lmde", "lfgh"]
    private static let chains = 11

    init(_ program: Program) throws {
        self.program = program
        layout = program.scratch.path.appending("i")
        let builder = try ImageBuilder(at: layout)
        try builder.writeIndex(
            try Self.images.map { name in
                try builder.image(name.map(Self.layer)).named(name)
            })
    }

    private static func layer(_ name: Character) -> LayerBuilder {
        let base: [TarEntry] = [
            .directory("shared", mode: 0o1777), .file("shared/of-l", "l"), .file("replaced", "l"),
            .file("deep/er/still", "l"), .file("gone", "l"),
        ]
        let above: [TarEntry] = [
            .file("replaced", Bytes("\(name)")), .file(".wh.gone"), .file("gone-\(name)/f", "1"),
            .hardLink(Bytes("shared/link-\(name)"), to: "shared/of-l"), .file("deep/er/.wh..wh..opq"),
            .file(Bytes("deep/er/\(name)"), Bytes("\(name)")).mode(0o4755).owned(12, 34),
        ]
        let many: [TarEntry] = (1...30).map {
            .file(Bytes("\(name)/\($0 % 7)/file-\($0)"), Bytes("\(name) \($0)")).at(Int64($0), 5)
        }
        return LayerBuilder((name == "l" ? base : above) + many)
    }

    func reference(_ image: Int) -> String { Self.images[image] }

    func start(_ image: Int, _ options: String...) throws -> RunningCommand {
        try program.start(["\(layout):\(reference(image))", "-q"] + options)
    }

    /// Starts two processes per image, each with a different number of jobs.
    func start() throws -> [RunningCommand] {
        try (0..<8).map { try start($0 % 4, "--jobs", "\($0 + 1)") }
    }

    /// The trees of the images, each unpacked into a store of its own with overlayfs, without concurrent processes.
    static let treesMadeAlone = Result {
        let program = try Program()
        let crowd = try Crowd(program)
        return try images.indices.map { image in
            let root = program.scratch.path.appending("alone-\(image)").string
            return try program.tree(try crowd.start(image, "--root", root).finish().succeed().line)
        }
    }

    /// - Parameter commands: of `start()`.
    func expectSuccess(_ commands: [Command], _ expected: [TreeDump]) throws {
        for command in commands { #expect(command.status == 0, "\(command.report)") }
        guard commands.allSatisfy({ $0.status == 0 }) else { return }
        for image in Self.images.indices {
            #expect(commands[image].text == commands[image + 4].text)
            let tree = try program.tree(commands[image].line)
            #expect(tree.lines.count > 90)
            #expect(tree == expected[image], "\(reference(image)): \(tree.difference(from: expected[image]))")
        }
    }

    func expectEachChainOnce() throws {
        let counts = "SELECT count(*), count(DISTINCT verified_chain), count(DISTINCT id) FROM snapshot"
        #expect(try program.rows(counts) == "\(Self.chains)|\(Self.chains)|\(Self.chains)\n")
        #expect(try program.rows("SELECT count(*) FROM snapshot WHERE kind != 'committed'") == "0\n")
        #expect(try program.rows("SELECT count(*) FROM image") == "\(Self.images.count)\n")
        #expect(try program.rows("PRAGMA integrity_check") == "ok\n")
    }
}

extension Command {
    /// The printed line.
    fileprivate var line: String { text.trimmingCharacters(in: .newlines) }
}
