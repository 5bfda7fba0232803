import ContainerdAPI
import Foundation
import GRPCCore
import Glibc
import Kernel
import SystemPackage
import TestSupport
import Testing

/// The server as a process: start, socket, stop and kill.
@Suite("unpack-snapshotter", .enabled(if: TestEnvironment.canMountOverlay, "needs root and overlay mounts"))
struct OperationTests {
    @Test("A new server on the same socket finds the snapshots of a killed one")
    func killed() async throws {
        let server = try RunningServer()
        try await server.connected { client in
            _ = try await client.prepare("a")
            try await client.commit("a", as: "base")
            _ = try await client.prepare("rw", parent: "base")
        }
        server.kill()
        #expect(FileManager.default.fileExists(atPath: server.socket.string))
        try server.start()
        try await server.connected { client in
            let (list, mounts) = (try await client.list(), try await client.mounts("rw"))
            #expect(list == [["base", "rw"]] && mounts.count == 1)
            let usage = try await client.usage("base")
            #expect(usage.inodes == 1)
        }
    }

    @Test("A stop completes calls and removes the socket, and the server exits with status 0")
    func stopped() async throws {
        let server = try RunningServer()
        try await server.connected { _ = try await $0.prepare("a") }
        let end = try server.stop()
        #expect(end.status == 0, "\(end.report)")
        #expect(!FileManager.default.fileExists(atPath: server.socket.string))
    }

    @Test("A stop waits for a running call")
    func drained() async throws {
        let server = try RunningServer(["--snapshotter", "unpack=native"])
        try await server.connected { client in
            let mounts = try await client.prepare("a")
            // The copy of these files takes a moment.
            let script =
                "cd \(mounts[0].source); for i in $(seq 40); do mkdir $i; (cd $i; seq 500 | xargs touch); done"
            try Command.run("sh", "-ec", script).succeed()
            try await client.commit("a", as: "base")
            async let copied = client.prepare("copy", parent: "base")
            let folder = server.root.appending("native").string
            let isCopying = try await soon {
                try FileManager.default.contentsOfDirectory(atPath: folder).count == 2
            }
            #expect(isCopying)
            server.process?.send(SIGTERM)
            #expect(try await copied.count == 1)
        }
        let end = try #require(server.process).finish()
        #expect(end.status == 0, "\(end.report)")
        try server.start()
        let list = try await server.connected { try await $0.list() }
        #expect(list == [["base", "copy"]])
    }

    @Test("Only the owner may connect to the socket, and a second server does not replace it")
    func socket() async throws {
        let server = try RunningServer()
        let attributes = try FileManager.default.attributesOfItem(atPath: server.socket.string)
        #expect(attributes[.posixPermissions] as? Int == 0o600)
        let second = try Command.run(server.command())
        #expect(second.status == 69, "\(second.report)")
        #expect(second.errorText.contains("another process listens on '\(server.socket)'"))
        try await server.connected { _ = try await $0.prepare("still") }
    }

    @Test("Invalid addresses are refused with a reason")
    func badPlaces() throws {
        let scratch = try TemporaryDirectory(in: try #require(TestEnvironment.scratch))
        let file = try scratch.write("file", [1])
        let long = scratch.path.appending(String(repeating: "x", count: 100))
        for (address, status, reason) in [
            (file, 64, "exists and is not a socket"), (long, 64, "has more than 107 bytes"),
            (file.appending("below"), 74, "not a directory"),
        ] {
            let run = try Command.run(
                RunningServer.program.string, "--address", address.string, "--root",
                scratch.path.appending("s").string)
            #expect(run.status == Int32(status), "\(run.report)")
            #expect(run.errorText.contains(reason), "\(run.report)")
        }
        #expect(try Data(contentsOf: URL(fileURLWithPath: file.string)) == Data([1]))
    }

    @Test("Files of other users at the socket's address are neither used nor changed")
    func foreignPlaces() throws {
        let scratch = try TemporaryDirectory(in: try #require(TestEnvironment.scratch))
        let setUp = """
            mkdir -m 1777 sticky; mkdir -m 0777 open; mkdir -m 0755 theirs; chown 4242 theirs
            ln -s ../victim sticky/link.lock; touch sticky/lock.lock; chown -h 4242 sticky/link.lock sticky/lock.lock
            """
        try Command.run("sh", "-ec", setUp, in: scratch.path).succeed()
        let stale = scratch.path.appending("sticky/stale")
        let bind = "import socket; socket.socket(socket.AF_UNIX).bind('\(stale)')"
        try Command.run("python3", "-c", bind).succeed()
        try Command.run("chown", "4242", stale.string).succeed()
        for (address, reason) in [
            ("sticky/link", "is a symbolic link"), ("sticky/lock", "lock.lock' belongs to another user"),
            ("sticky/stale", "stale' belongs to another user"),
            ("open/s", "open' can be changed by other users"),
            ("theirs/s", "theirs' belongs to another user"),
        ] {
            let run = try Command.run(
                RunningServer.program.string, "--address", scratch.path.appending(address).string, "--root",
                scratch.path.appending("s").string)
            #expect(run.status == 77, "\(run.report)")
            #expect(run.errorText.contains(reason), "\(run.report)")
        }
        #expect(!FileManager.default.fileExists(atPath: scratch.path.appending("victim").string))
        #expect(FileManager.default.fileExists(atPath: stale.string))
    }

    @Test("Without a flag, the settings determine the kind of snapshots")
    func settings() throws {
        let scratch = try TemporaryDirectory(in: try #require(TestEnvironment.scratch))
        let run = try Command.run(
            RunningServer.program.string, "--address", scratch.path.appending("socket").string,
            environment: ["UNPACK_SNAPSHOTTER": "aufs"])
        #expect(run.status == 64 && run.errorText.contains("UNPACK_SNAPSHOTTER"), "\(run.report)")
        let twice = try Command.run(
            RunningServer.program.string, "--address", scratch.path.appending("socket").string, "--root",
            scratch.path.appending("s").string, "--snapshotter", "a=native", "--snapshotter", "a=overlayfs")
        #expect(twice.status == 64 && twice.errorText.contains("names 'a' twice"), "\(twice.report)")
    }

    @Test("Every call is logged as JSON, with its code")
    func log() async throws {
        let server = try RunningServer(["--log-format", "json"])
        try await server.connected { client in
            _ = try await client.prepare("line\nbreak", labels: ["l": "1"])
            _ = await code { _ = try await client.stat("none") }
            _ = await code { _ = try await client.prepare("x", "other") }
        }
        let end = try server.stop()
        let lines = try end.errorText.split(separator: "\n").map {
            try #require(try JSONSerialization.jsonObject(with: Data($0.utf8)) as? [String: Any])
        }
        func logged(_ method: String, _ code: String) -> [String: Any]? {
            lines.first { $0["method"] as? String == method && $0["code"] as? String == code }
        }
        let prepared = try #require(logged("Prepare", "OK"))
        #expect(prepared["key"] as? String == "line\nbreak" && prepared["snapshotter"] as? String == "unpack")
        #expect(prepared["milliseconds"] is Int && prepared["level"] as? String == "info")
        #expect(logged("Stat", "NOT_FOUND")?["level"] as? String == "debug")
        let refused = try #require(logged("Prepare", "INVALID_ARGUMENT"))
        #expect(refused["level"] as? String == "error" && refused["message"] is String)
    }

    @Test(
        "A key of a client begins no line of the log, and does not control a terminal",
        arguments: ["text", "json"])
    func hostileKeys(format: String) async throws {
        let server = try RunningServer(["--log-format", format])
        let key = "a\u{1B}[31m\u{9B}31m\u{202E}\u{2066}\u{85}\r\nunpack-snapshotter: forged\\"
        try await server.connected { client in
            _ = try await client.prepare(key, labels: [key: key])
            _ = await code { _ = try await client.prepare("x", key) }
            _ = await code { _ = try await client.prepare(key, parent: key) }
        }
        let log = try server.stop().errorText
        #expect(log.unicodeScalars.allSatisfy { isPrintable($0) || $0 == "\n" }, "\(log.debugDescription)")
        let lines = log.split(separator: "\n")
        #expect(!lines.contains { $0.hasPrefix("unpack-snapshotter: forged") }, "\(log)")
        if format == "text" {
            // Each text is escaped exactly once: the key of the call, and the message of the store.
            #expect(lines.contains { $0.contains("Prepare") && $0.contains("forged\\\\'") }, "\(log)")
            #expect(!log.contains("\\\\x1b"), "\(log)")
        } else {
            let keys = try lines.compactMap {
                (try JSONSerialization.jsonObject(with: Data($0.utf8)) as? [String: Any])?["key"] as? String
            }
            #expect(keys.contains { $0.utf8.elementsEqual(key.utf8) }, "\(log)")
        }
    }

    @Test(
        "The socket of a service manager is served, and the manager is notified of readiness and stop",
        .enabled(if: TestEnvironment.has("systemd-socket-activate"), "needs systemd-socket-activate"))
    func activated() async throws {
        let scratch = try TemporaryDirectory(in: try #require(TestEnvironment.scratch))
        let (socket, manager) = (
            scratch.path.appending("socket"), try Manager(scratch.path.appending("notify"))
        )
        let process = try RunningCommand(
            [
                "systemd-socket-activate", "-E", "NOTIFY_SOCKET", "-l", socket.string,
                RunningServer.program.string,
                "--root", scratch.path.appending("s").string,
            ], environment: ["NOTIFY_SOCKET": manager.path.string])
        defer { process.kill() }
        let isListening = try await soon { FileManager.default.fileExists(atPath: socket.string) }
        #expect(isListening)
        try await RunningServer.connected(to: socket) { _ = try await $0.prepare("a") }
        #expect(try manager.next() == "READY=1")
        process.send(SIGTERM)
        #expect(try manager.next() == "STOPPING=1")
        let end = try process.finish()
        #expect(end.status == 0, "\(end.report)")
        // The service manager owns the socket: the server does not remove it.
        #expect(FileManager.default.fileExists(atPath: socket.string))
    }

    @Test("Eight clients make and remove a thousand snapshots: none remains, and memory does not grow")
    func soak() async throws {
        let server = try RunningServer()
        func round(_ count: Int) async throws {
            try await withThrowingTaskGroup(of: Void.self) { group in
                for worker in 0..<8 {
                    let socket = server.socket
                    group.addTask {
                        try await RunningServer.connected(to: socket) { client in
                            for number in 0..<count {
                                let key = "\(worker)/\(number)"
                                _ = try await client.prepare(key)
                                try await client.commit(key, as: "\(key) done")
                                _ = try await client.view("\(key) look", parent: "\(key) done")
                                try await client.remove("\(key) look")
                                try await client.remove("\(key) done")
                            }
                        }
                    }
                }
                try await group.waitForAll()
            }
        }
        try await round(25)
        let early = try server.residentPeak()
        try await round(100)
        let late = try server.residentPeak()
        #expect(Double(late) < 1.3 * Double(early), "\(early) and then \(late) kB")
        #expect(try server.names().isEmpty)
        #expect(try eventually { try server.directories().isEmpty })
    }
}

/// Receives the notifications of a service (sd_notify(3)).
private final class Manager {
    let path: FilePath
    private let socket: Int32

    init(_ path: FilePath) throws {
        self.path = path
        socket = Glibc.socket(AF_UNIX, Int32(SOCK_DGRAM.rawValue), 0)
        var address = sockaddr_un()
        address.sun_family = sa_family_t(AF_UNIX)
        withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: path.string.utf8) }
        var limit = timeval(tv_sec: 10, tv_usec: 0)
        setsockopt(socket, SOL_SOCKET, SO_RCVTIMEO, &limit, socklen_t(MemoryLayout<timeval>.size))
        let bound = withUnsafePointer(to: &address) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                bind(socket, $0, socklen_t(MemoryLayout<sockaddr_un>.size))
            }
        }
        try #require(bound == 0)
    }

    deinit { close(socket) }

    func next() throws -> String {
        var buffer = [UInt8](repeating: 0, count: 256)
        let count = recv(socket, &buffer, buffer.count, 0)
        try #require(count > 0, "no notification")
        return String(decoding: buffer.prefix(count), as: UTF8.self)
    }
}
