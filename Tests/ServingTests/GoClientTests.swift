import Foundation
import Glibc
import SystemPackage
import TestSupport
import Testing

/// Tests with Go's gRPC and containerd's own snapshotter client (`Tests/Go`).
@Suite(
    "Clients in Go",
    .enabled(if: TestEnvironment.canMountOverlay, "needs root and overlay mounts"),
    .enabled(
        if: GoClient.areBuilt, "needs the programs that .ci/go-clients builds with packages of Debian's sid"))
struct GoClientTests {
    private static let environment = ProcessInfo.processInfo.environment
    private static let rounds = environment["UNPACK_ROUNDS"].flatMap(Int.init) ?? 4
    private static let cycles = environment["UNPACK_CYCLES"].flatMap(Int.init) ?? 100

    /// The path of the calls: directly to the server, or to containerd, which calls the server.
    enum Route: CaseIterable, CustomTestStringConvertible {
        case direct, throughContainerd

        var testDescription: String { self == .direct ? "direct" : "through containerd" }

        static let present = ContainerdDaemon.Release.present.isEmpty ? [direct] : allCases
    }

    @Test(
        "containerd's test suite for snapshotters passes",
        arguments: TestEnvironment.chosen([
            "overlayfs", "native", "btrfs", "loop", "erofs", "devmapper", "zfs",
        ]))
    func suite(kind: String) throws {
        if kind == "loop", !TestEnvironment.canMountExt4 { try Test.cancel("needs loop devices and ext4") }
        if kind == "btrfs", !TestEnvironment.canMountBtrfs { try Test.cancel("needs loop devices and btrfs") }
        if kind == "erofs", !TestEnvironment.canMountErofs { try Test.cancel("needs EROFS") }
        if kind == "devmapper", !TestEnvironment.canMakeThinPools { try Test.cancel("needs thin pools") }
        if kind == "zfs", !TestEnvironment.canMakeZfsPools { try Test.cancel("needs ZFS") }
        let disk = kind == "btrfs" ? try LoopFileSystem(type: "btrfs", megabytes: 1000) : nil
        // Each case has a snapshotter of its own: the cases run in parallel, and some use the same keys.
        // With the name of overlayfs, the suite renames no directory of a lower layer.
        let name = kind == "erofs" ? "overlayfs" : kind
        let snapshotters = (1...30).flatMap { ["--snapshotter", "\(name)-\($0)=\(kind)"] }
        let pool = kind == "devmapper" ? try ThinPoolOnFiles(megabytes: 2000) : nil
        let zpool = kind == "zfs" ? try ZfsPoolOnFile(megabytes: 2000) : nil
        defer { withExtendedLifetime((pool, zpool)) {} }
        let settings = pool.map { ["--pool", $0.name, "--size", "64M"] } ?? []
        let server = try RunningServer(snapshotters + settings, storeIn: disk?.path ?? zpool?.parent)
        // The suite leaves its snapshots, whose layers the server has mounted.
        defer {
            let folder = server.root.appending("erofs")
            for name in (try? FileManager.default.contentsOfDirectory(atPath: folder.string)) ?? [] {
                _ = try? Command.run("umount", "-l", folder.appending(name).appending("fs").string)
            }
        }
        // This case commits a snapshot while it is mounted. These refuse that, because the file system would not be
        // complete.
        let isImage = ["loop", "erofs", "devmapper"].contains(kind)
        let left = isImage ? "StatComitted" : "none"
        let run = try Command.run(
            GoClient.testsuite.path.string, "-test.root", "-test.v", "-test.skip", "/^\(left)$", "-address",
            server.socket.string, "-kind", name, environment: ["TMPDIR": server.scratch.path.string],
            timeout: 300)
        #expect(run.status == 0, "\(run.report)")
        let results = run.text.split(separator: "\n").filter { $0.hasPrefix("    --- ") }
        #expect(results.allSatisfy { $0.contains("--- PASS") }, "\(results)")
        #expect(results.count >= (isImage ? 20 : 21), "\(results)")
    }

    @Test(
        "Eight clients get only expected answers, and leave nothing", arguments: Route.present,
        [false, true])
    func stress(route: Route, isShared: Bool) throws {
        let testBed = try TestBed(route)
        let run = try testBed.stress(["-cycles", "\(Self.cycles)"] + (isShared ? ["-shared"] : []))
            .finish(timeout: 3600)
        #expect(run.status == 0, "\(run.report)")
        #expect(run.text.contains("cycles=\(Self.cycles) "), "\(run.report)")
        try testBed.expectNothing()
    }

    @Test("Killing the server, a client or containerd invalidates no answer", arguments: Route.present)
    func kills(route: Route) throws {
        let testBed = try TestBed(route)
        var clients = try (0..<2).map { _ in try testBed.stress(["-clients", "4"], isRecorded: true) }
        var victims = [testBed.server.kill, testBed.server.sendStop, { clients[0].kill() }]
        if let containerd = testBed.containerd { victims.append(containerd.kill) }
        for round in 0..<Self.rounds {
            usleep(UInt32.random(in: 100_000...600_000))
            victims[round % victims.count]()
            switch round % victims.count {
            case 0: try testBed.server.start()
            case 1:
                #expect(try testBed.server.finish().status == 0)
                try testBed.server.start()
            case 2: clients[0] = try testBed.stress(["-clients", "4"], isRecorded: true)
            default: try testBed.containerd?.start()
            }
        }
        usleep(500_000)
        try testBed.end(clients)
        try testBed.expectAnswersHold()
    }

    @Test("A stop of the server answers every call that was executed")
    func stops() throws {
        let testBed = try TestBed(.direct)
        let client = try testBed.stress([], isRecorded: true)
        for _ in 0..<Self.rounds {
            usleep(UInt32.random(in: 100_000...400_000))
            let end = try testBed.server.stop()
            #expect(end.status == 0, "\(end.report)")
            try testBed.server.start()
        }
        try testBed.end([client])
        try testBed.expectAnswersHold(["-stopped"])
    }

    @Test("Calls whose deadline expires were executed or not, and other calls do not fail")
    func deadlines() throws {
        let testBed = try TestBed(.direct)
        let client = try testBed.stress(["-shared", "-deadline", "100ms"], isRecorded: true)
        usleep(UInt32(Self.rounds) * 500_000)
        try testBed.end([client])
        try testBed.expectAnswersHold()
    }
}

/// A program of `Tests/Go`, which `.ci/go-clients` builds.
private enum GoClient: String, CaseIterable {
    case stress, testsuite

    var path: FilePath { Built.repository.appending(".build/go/bin").appending(rawValue) }

    static let areBuilt = allCases.allSatisfy {
        FileManager.default.isExecutableFile(atPath: $0.path.string)
    }
}

/// A server, containerd if calls go through it, and the journals of the clients.
private final class TestBed {
    private let node: Node?
    let server: RunningServer
    var containerd: ContainerdDaemon? { node?.containerd }
    private let journals: FilePath

    init(_ route: GoClientTests.Route) throws {
        node = route == .direct ? nil : try Node(try #require(ContainerdDaemon.Release.present.last))
        server = try node?.server ?? RunningServer()
        journals = try server.scratch.makeDirectory("journals")
    }

    private var address: [String] {
        ["-address"]
            + (node == nil ? [server.socket.string] : [server.containerd.string, "-namespace", "stress"])
    }

    func stress(_ arguments: [String], isRecorded: Bool = false) throws -> RunningCommand {
        try RunningCommand(
            [GoClient.stress.path.string] + address + (isRecorded ? ["-journal", journals.string] : [])
                + arguments)
    }

    /// Stops clients. A client fails if it has received an unexpected answer.
    func end(_ clients: [RunningCommand]) throws {
        for client in clients { client.send(SIGTERM) }
        for client in clients {
            let end = try client.finish()
            #expect(end.status == 0, "\(end.report)")
        }
    }

    /// Compares the journals with the existing snapshots, and removes those.
    func expectAnswersHold(_ arguments: [String] = []) throws {
        let check = try stress(["-check"] + arguments, isRecorded: true).finish(timeout: 300)
        #expect(check.status == 0, "\(check.report)")
        try expectNothing()
    }

    /// Expects an empty store.
    func expectNothing() throws {
        try node?.collectGarbage()
        #expect(try eventually { try server.names().isEmpty })
        #expect(try eventually { try server.directories().isEmpty })
    }
}

extension RunningServer {
    fileprivate func sendStop() { process?.send(SIGTERM) }

    fileprivate func finish() throws -> Command { try #require(process).finish() }
}
