import ContainerdAPI
import Foundation
import GRPCCore
import Kernel
import OCI
import Synchronization
import SystemPackage
import TestSupport
import Testing

/// Kills processes at random moments: answered calls have lasting effects, and interrupted ones leave nothing.
@Suite("Kills", .enabled(if: TestEnvironment.canMountOverlay, "needs root and overlay mounts"), .serialized)
struct KillTests {
    typealias Release = ContainerdDaemon.Release

    private static let rounds = ProcessInfo.processInfo.environment["UNPACK_ROUNDS"].flatMap(Int.init)

    /// Releases of containerd, each with the kind of snapshots that the server has for it.
    static let nodes =
        Release.present.map { ($0, "overlayfs") } + Release.present.suffix(1).map { ($0, "loop") }

    @Test(
        "If the server, containerd or both are killed during an import, nothing is lost, and nothing is left at the end",
        arguments: nodes)
    func duringImport(release: Release, kind: String) throws {
        if kind == "loop", !TestEnvironment.canMountExt4 { try Test.cancel("needs loop devices and ext4") }
        let node = try Node(release, ["--snapshotter", "unpack=\(kind)"])
        let image = try LayeredImage(in: node.server.scratch.path)
        let start = ContinuousClock.now
        try node.load(image.archive)
        let duration = start.duration(to: .now)
        let expected = try node.tree(image.top, "unpack")
        #expect(expected.lines.count > LayeredImage.fileCount)
        try node.removeAll()
        try node.expectNothing(kind)

        let first = Int.random(in: 0..<3)
        for round in first..<first + (Self.rounds ?? 3) {
            let delay = duration * Double.random(in: 0.05...1)
            let importing = try node.containerd.startCtr([
                "images", "import", "--snapshotter", "unpack", image.archive.string,
            ])
            usleep(UInt32(delay / .microseconds(1)))
            // 0 kills the server, 1 containerd, 2 both.
            let victims = round % 3
            if victims != 1 { node.server.kill() }
            if victims != 0 { node.containerd.kill() }
            importing.kill()
            while importing.isRunning { usleep(1000) }
            if victims != 1 { try node.server.start() }
            if victims != 0 { try node.containerd.start() }

            let comment: Comment = "round \(round), after \(delay) of \(duration)"
            try node.expectWhole(comment)
            try node.load(image.archive)
            #expect(try node.names().isSuperset(of: image.chains), comment)
            let tree = try node.tree(image.top, "unpack")
            // Debian's containerd does not take the times of the root from a layer.
            let isRight = tree.lines.dropFirst() == expected.lines.dropFirst()
            #expect(isRight, comment)
            try node.removeAll()
            try node.expectNothing(kind)
        }
    }

    @Test(
        "If the server is killed while four clients change snapshots, answers hold, and no change is partial"
    )
    func amongClients() async throws {
        let server = try RunningServer()
        for round in 0..<(Self.rounds ?? 5) {
            let (socket, histories) = (server.socket, (0..<4).map { _ in History() })
            try await withThrowingTaskGroup(of: Void.self) { group in
                for (number, history) in histories.enumerated() {
                    group.addTask {
                        try await history.live(as: "\(round)-\(number)", on: socket)
                    }
                }
                try await Task.sleep(for: .milliseconds(Int.random(in: 20...400)))
                server.kill()
                try server.start()
                // A client without a running call has not noticed the kill.
                for history in histories { history.end() }
                try await group.waitForAll()
            }
            try await server.connected { client in
                for history in histories { try await history.check(client) }
                let all = try await client.list().flatMap(\.self)
                for history in histories {
                    for key in history.names.reversed() where all.contains(key) {
                        try await client.remove(key)
                    }
                }
                #expect(try await client.list().isEmpty)
            }
            #expect(try server.names().isEmpty)
            let isEmpty = try eventually { try server.directories().isEmpty }
            #expect(isEmpty)
        }
    }
}

/// The answers that one client has received. A single task uses it at a time.
private final class History: @unchecked Sendable {
    enum State { case missing, active, view, committed }

    /// The possible states of each key, oldest key first: several after a call without an answer.
    private var states = [(key: String, possible: [State])]()
    private let isOver = Atomic(false)

    var names: [String] { states.map(\.key) }

    /// Ends `live` after its current call. May be called on any thread.
    func end() { isOver.store(true, ordering: .relaxed) }

    /// Creates and removes snapshots until the server does not answer, or `end` is called.
    func live(as name: String, on socket: FilePath) async throws {
        try await RunningServer.connected(to: socket) { client in
            for number in 0... {
                if isOver.load(ordering: .relaxed) { return }
                let (key, base) = ("\(name)/\(number)", "\(name)/\(number) base")
                let parent = number % 3 == 0 ? "" : "\(name)/\(number - 1) base"
                let isMade = await attempt([(key, .active)]) {
                    let mounts = try await client.prepare(key, parent: parent)
                    let upper = try #require(mounts[0].upper)
                    for file in 0..<5 { TemporaryFile.make(upper.appending("\(file)"), "\(key)\n") }
                }
                guard isMade,
                    await attempt(
                        [(key, .missing), (base, .committed)],
                        {
                            try await client.commit(key, as: base)
                        }),
                    await attempt(
                        [("\(key) look", .view)], { _ = try await client.view("\(key) look", parent: base) })
                else { return }
                // After six rounds, the snapshots of the last three are removed, topmost first.
                guard number % 6 == 5 else { continue }
                for old in stride(from: number, to: number - 3, by: -1).map({ "\(name)/\($0)" }) {
                    for key in ["\(old) look", "\(old) base"] {
                        guard await attempt([(key, .missing)], { try await client.remove(key) }) else {
                            return
                        }
                    }
                }
            }
        }
    }

    /// Records the possible states before and after a call.
    ///
    /// - Returns: whether the call was answered.
    private func attempt(_ changes: [(String, State)], _ body: () async throws -> Void) async -> Bool {
        let before = changes.map { change in states.last { $0.key == change.0 }?.possible ?? [.missing] }
        for (change, before) in zip(changes, before) { set(change.0, before + [change.1]) }
        do {
            try await body()
            for change in changes { set(change.0, [change.1]) }
            return true
        } catch {
            #expect((error as? RPCError)?.code == .unavailable, "\(error)")
            unanswered = changes
            return false
        }
    }

    /// The changes of the call that was not answered.
    private var unanswered = [(key: String, State)]()

    private func set(_ key: String, _ possible: [State]) {
        if let index = states.firstIndex(where: { $0.key == key }) {
            states[index].possible = possible
        } else {
            states.append((key, possible))
        }
    }

    /// Compares the server's snapshots with the possible states.
    func check(_ client: Snapshots) async throws {
        var found = [String: State]()
        for (key, possible) in states {
            let state = try await self.state(of: key, client)
            #expect(possible.contains(state), "\(key): \(state), not \(possible)")
            found[key] = state
            switch state {
            case .active, .view:
                let mounts = try await client.mounts(key)
                #expect(mounts.count == 1)
                for path in mounts[0].paths {
                    #expect(FileManager.default.fileExists(atPath: path.string), "\(key): \(path)")
                }
            case .committed: #expect(try await client.usage(key).inodes >= 1, "\(key)")
            case .missing: break
            }
        }
        // A call takes effect as a whole or not at all.
        let done = unanswered.map { found[$0.key] == $0.1 }
        #expect(Set(done).count < 2, "\(unanswered): \(done)")
    }

    private func state(of key: String, _ client: Snapshots) async throws -> State {
        do {
            switch try await client.stat(key).kind {
            case .active: return .active
            case .view: return .view
            case .committed: return .committed
            default: throw RPCError(code: .unknown, message: "an unknown kind")
            }
        } catch let error as RPCError where error.code == .notFound {
            return .missing
        }
    }
}

extension Containerd_Types_Mount {
    /// The directories of the mount.
    fileprivate var paths: [FilePath] {
        if type != "overlay" { return [FilePath(source)] }
        return options.filter { $0.contains("dir=") }.flatMap { option in
            option.split(separator: "=")[1].split(separator: ":").map { FilePath(String($0)) }
        }
    }

    /// The writable directory of the mount.
    fileprivate var upper: FilePath? {
        if type != "overlay" { return FilePath(source) }
        return options.first { $0.hasPrefix("upperdir=") }.map {
            FilePath(String($0.dropFirst("upperdir=".count)))
        }
    }
}

extension TemporaryFile {
    /// Creates a file without a child process. Errors are ignored: the directory may have been removed.
    fileprivate static func make(_ path: FilePath, _ text: String) {
        _ = FileManager.default.createFile(atPath: path.string, contents: Data(text.utf8))
    }
}

/// An image whose unpacking takes a moment.
private final class LayeredImage {
    let archive: FilePath
    /// The chain IDs, lowest layer first.
    let chains: [String]
    var top: String { chains[chains.count - 1] }

    private static let layers = 6
    private static let filesOfLayer = 400
    static let fileCount = layers * filesOfLayer

    init(in folder: FilePath) throws {
        let layout = folder.appending("layered")
        archive = folder.appending("layered.tar")
        let layers = (0..<Self.layers).map { layer in
            LayerBuilder(
                [.directory("."), .directory("\(layer)")]
                    + (0..<Self.filesOfLayer).map {
                        .file("\(layer)/\($0)", "\(layer) \($0)\n").at(1_600_000_000)
                    }
                    + [.directory("all"), .file("all/newest", "\(layer)\n")])
        }
        let builder = try ImageBuilder(at: layout)
        try builder.writeIndex([try builder.image(layers).named("layered.test/image:1")])
        var chain: ChainID?
        chains = layers.map { layer in
            let next = ChainID(of: layer.diffID, on: chain)
            chain = next
            return next.description
        }
        try Command.run("tar", "-cf", archive.string, "-C", layout.string, ".").succeed()
    }
}

extension Node {
    /// Expects that every snapshot that containerd lists can be mounted.
    fileprivate func expectWhole(_ comment: Comment) throws {
        // containerd reconnects to the server only when it makes a call, and `ls` makes none.
        let isBack = try eventually {
            try containerd.tryCtr(["snapshots", "--snapshotter", "unpack", "prepare", "back"]).status == 0
        }
        #expect(isBack, comment)
        _ = try snapshots("rm", "back")
        for (key, kind) in try listed() {
            try unlessCollected(key) {
                if kind == "Committed" {
                    let view = "whole-\(UInt32.random(in: 0 ... .max))"
                    _ = try snapshots("view", view, key)
                    let names = try mounted(view) { try Self.names(in: $0) }
                    #expect(!names.isEmpty, comment)
                } else {
                    try mounted(key) { _ = try Self.names(in: $0) }
                }
                _ = try snapshots("usage", key)
            }
        }
    }

    private static func names(in folder: FilePath) throws -> [String] {
        try FileManager.default.contentsOfDirectory(atPath: folder.string)
    }

    /// Returns the snapshots that `ctr` lists. Keys may contain spaces, so the columns are found by position.
    private func listed() throws -> [(key: String, kind: String)] {
        let lines = try snapshots("ls").split(separator: "\n")
        let header = try #require(lines.first)
        let column = header.distance(
            from: header.startIndex, to: try #require(header.firstRange(of: "PARENT")).lowerBound)
        return lines.dropFirst().map { line in
            let key = line.prefix(column).trimmingCharacters(in: .whitespaces)
            return (key, line.split(separator: " ").last.map(String.init) ?? "")
        }
    }

    /// Does something with a key, unless containerd's garbage collection removes it, or the view of it, at the same
    /// time.
    private func unlessCollected(_ key: String, _ body: () throws -> Void) throws {
        var failure: Command.Failure?
        for _ in 0..<10 {
            do {
                return try body()
            } catch let error as Command.Failure {
                // The key is not in containerd's database any more. A snapshot that only this server has lost yields
                // another message.
                guard error.description.contains(" does not exist: not found") else { throw error }
                failure = error
            }
            if try !listed().contains(where: { $0.key == key }) { return }
        }
        throw try #require(failure)
    }

    /// Removes all images, the leases of killed clients, and all content and snapshots that are unreferenced then.
    fileprivate func removeAll() throws {
        try removeImages()
        for lease in try containerd.ctr("leases", "ls", "-q").split(separator: "\n") {
            try containerd.ctr("leases", "rm", String(lease))
        }
        try collectGarbage()
    }

    fileprivate func expectNothing(_ kind: String) throws {
        let isForgotten = try eventually { try names().isEmpty }
        #expect(isForgotten)
        let folder = server.root.appending(kind)
        func directories() throws -> [String] {
            try FileManager.default.contentsOfDirectory(atPath: folder.string).filter { $0 != "scratch" }
        }
        let isGone = try eventually { try directories().isEmpty }
        let left = try directories()
        #expect(isGone, "\(left)")
        let rows = try server.unpack("snapshot", "ls", "--json", "--snapshotter", kind).succeed().text
        #expect(rows.trimmingCharacters(in: .whitespacesAndNewlines) == "[]", "\(rows)")
        let loops = try Command.run("losetup", "--list", "--noheadings", "--output", "BACK-FILE").succeed()
            .text
        #expect(!loops.contains(server.root.string), "\(loops)")
    }
}
