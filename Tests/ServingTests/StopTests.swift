import ContainerdAPI
import Foundation
import GRPCCore
import Glibc
import SwiftProtobuf
import SystemPackage
import TestSupport
import Testing

/// Stops and deadlines: a client gets its answer, or the call has no effect.
@Suite("Stops and deadlines", .enabled(if: TestEnvironment.canMountOverlay, "needs root and overlay mounts"))
struct StopTests {
    private typealias Frame = HTTP2Peer.Frame

    @Test(
        "A call that began before a stop is answered, even if its request arrives late and takes long",
        .timeLimit(.minutes(1)))
    func lateCall() async throws {
        let server = try RunningServer()
        let containerd = try HTTP2Peer.listening(at: server.containerd)
        let target = try server.scratch.makeDirectory("target")
        let apply = Containerd_Services_Diff_V1_ApplyRequest.with {
            $0.diff = .with {
                $0.mediaType = "application/vnd.oci.image.layer.v1.tar"
                $0.digest = "sha256:\(String(repeating: "a", count: 64))"
                $0.size = 1000
            }
            $0.mounts = [.bind(target)]
        }
        let call = Frame.call(
            "/containerd.services.diff.v1.Diff/Apply", try apply.serializedBytes(), on: 1)
        let peer = try HTTP2Peer(connectingTo: server.socket)
        try peer.send([.settings, call[0], .ping(1)])
        _ = try peer.next { $0 == .answer(to: 1) }
        server.process?.send(SIGTERM)
        _ = try peer.next { $0.kind == Frame.Kind.goAway }
        // A call that the client began before it received GOAWAY is refused, and has no effect.
        try peer.send(Frame.call("/none/none", [], on: 3))
        let refusal = try peer.next { $0.stream == 3 }
        #expect(refusal.kind == Frame.Kind.reset && refusal.payload == [0, 0, 0, 7])
        try peer.send([call[1]])
        // Longer than the server waits for clients. The call waits for containerd, which is gone then.
        try await Task.sleep(for: .seconds(6))
        close(containerd)
        _ = try peer.next { $0.stream == 1 && $0.isEndOfStream }
        try await Self.expectEnd(of: server)
    }

    @Test(
        "A client that reads its answer late gets all of it before the server exits", .timeLimit(.minutes(1)))
    func lateReader() async throws {
        let server = try RunningServer()
        let label = String(repeating: "x", count: 4000)
        try await server.connected { client in
            for number in 0..<100 { _ = try await client.prepare("\(number)", labels: ["l": label]) }
        }
        let peer = try HTTP2Peer(connectingTo: server.socket)
        let list = Containerd_Services_Snapshots_V1_ListSnapshotsRequest.with { $0.snapshotter = "unpack" }
        try peer.send(
            [.settings]
                + Frame.call(
                    "/containerd.services.snapshots.v1.Snapshots/List", try list.serializedBytes(), on: 1))
        var size = 0
        // The initial flow-control window of a connection.
        while size < 65535 { size += try peer.next { $0.kind == Frame.Kind.data }.payload.count }
        server.process?.send(SIGTERM)
        try await Task.sleep(for: .seconds(2))
        try peer.send([.windowUpdate(1 << 20, on: 0), .windowUpdate(1 << 20, on: 1)])
        var frame = try peer.next()
        while !frame.isEndOfStream {
            if frame.kind == Frame.Kind.data { size += frame.payload.count }
            frame = try peer.next()
        }
        #expect(size > 100 * label.utf8.count)
        try await Self.expectEnd(of: server)
    }

    /// Expects that the server exits with status 0. Does not block a thread that other tests need.
    private static func expectEnd(of server: RunningServer) async throws {
        let process = try #require(server.process)
        let hasEnded = try await soon { !process.isRunning }
        #expect(hasEnded)
        let end = try process.finish()
        #expect(end.status == 0, "\(end.report)")
    }

    @Test("A Prepare that its client has cancelled makes no snapshot")
    func deadline() async throws {
        let server = try RunningServer(["--snapshotter", "unpack=native"])
        try await server.connected { client in
            let mounts = try await client.prepare("a")
            // The copy of these files takes a moment.
            let script =
                "cd \(mounts[0].source); for i in $(seq 40); do mkdir $i; (cd $i; seq 500 | xargs touch); done"
            try Command.run("sh", "-ec", script).succeed()
            try await client.commit("a", as: "base")
            let copy = Task { _ = try await client.prepare("copy", parent: "base") }
            let folder = server.root.appending("native").string
            let isCopying = try await soon {
                try FileManager.default.contentsOfDirectory(atPath: folder).count == 2
            }
            #expect(isCopying)
            copy.cancel()
            _ = await copy.result
            let isReported = try await soon {
                server.process?.errorText.contains("Prepare unpack 'copy' on 'base': CANCELLED") == true
            }
            #expect(isReported)
            let list = try await client.list()
            #expect(list == [["base"]])
            // The key can be used again.
            _ = try await client.prepare("copy", parent: "base")
        }
    }
}
