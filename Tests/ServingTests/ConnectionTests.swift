import ContainerdAPI
import Foundation
import GRPCCore
import GRPCNIOTransportHTTP2
import Glibc
import OCI
import SwiftProtobuf
import SystemPackage
import TestSupport
import Testing

/// Limits of HTTP/2 connections: a peer that sends many frames neither loses its connection nor exhausts the server's
/// memory.
@Suite("Connections", .enabled(if: TestEnvironment.canMountOverlay, "needs root and overlay mounts"))
struct ConnectionTests {
    private typealias Frame = HTTP2Peer.Frame

    /// More than the 200 in 30 s after which swift-nio-http2 ends a connection.
    private static let manyFrames: UInt64 = 2000

    @Test("The server answers every PING of a connection")
    func pings() throws {
        let server = try RunningServer()
        let peer = try HTTP2Peer(connectingTo: server.socket)
        try peer.send([.settings])
        try Self.exchangePings(with: peer)
    }

    @Test("The server answers a PING that arrives in pieces between other frames")
    func pieces() throws {
        let server = try RunningServer()
        let peer = try HTTP2Peer(connectingTo: server.socket)
        try peer.send([.settings])
        let frames =
            [.ping(1)] + Frame.call("/none/none", [UInt8](repeating: 7, count: 300), on: 1)
            + [.ping(2), .ping(3)]
        for byte in frames.flatMap(\.bytes) {
            try peer.send([byte])
            usleep(1000)
        }
        var (answers, streams) = ([UInt64](), Set<UInt32>())
        while answers.count < 3 || !streams.contains(1) {
            let frame = try peer.next()
            try #require(frame.kind != Frame.Kind.goAway)
            if frame.kind == Frame.Kind.ping { answers.append(UInt64(frame.payload[7])) }
            if frame.flags & Frame.endStream != 0 { streams.insert(frame.stream) }
        }
        #expect(answers == [1, 2, 3])
    }

    @Test("The server's first frame is SETTINGS, whatever the client sends first")
    func preface() throws {
        let server = try RunningServer()
        let peer = try HTTP2Peer(connectingTo: server.socket)
        try peer.send([.settings] + (1...10).map(Frame.ping))
        let first = try peer.next()
        #expect(first.kind == Frame.Kind.settings && first.flags == 0)
    }

    @Test(
        "A PING before the client's SETTINGS frame, or inside a field block, ends the connection",
        arguments: [false, true])
    func misplacedPing(isInFieldBlock: Bool) throws {
        let server = try RunningServer()
        let peer = try HTTP2Peer(connectingTo: server.socket)
        var headers = Frame.call("/none/none", [], on: 1)[0]
        headers.flags = 0
        try peer.send(isInFieldBlock ? [.settings, headers, .ping(1)] : [.ping(1), .settings])
        let answer = try peer.next { [Frame.Kind.ping, Frame.Kind.goAway].contains($0.kind) }
        #expect(answer.kind == Frame.Kind.goAway)
    }

    @Test(
        "A connection that is closed for a flood names the newest call as processed",
        arguments: [Frame.settings, Frame.priority(of: 9)])
    func lastStream(flood: HTTP2Peer.Frame) async throws {
        let server = try RunningServer()
        let peer = try HTTP2Peer(connectingTo: server.socket)
        try peer.send([.settings])
        for (number, stream) in [UInt32(1), 3, 5].enumerated() {
            try peer.send(try Self.prepare("\(number)", on: stream))
            _ = try peer.next { $0.stream == stream && $0.isEndOfStream }
        }
        try peer.send([Frame](repeating: flood, count: 300))
        let last = try peer.next { $0.kind == Frame.Kind.goAway }
        #expect(last.lastStream == 5)
        #expect(try server.names().count == 3)
    }

    private static func prepare(_ key: String, on stream: UInt32) throws -> [Frame] {
        let request = Containerd_Services_Snapshots_V1_PrepareSnapshotRequest.with {
            $0.snapshotter = "unpack"
            $0.key = key
        }
        return Frame.call(
            "/containerd.services.snapshots.v1.Snapshots/Prepare", try request.serializedBytes(), on: stream)
    }

    @Test("Corrupt frames end only their own connection", .timeLimit(.minutes(5)))
    func corruptFrames() async throws {
        let server = try RunningServer()
        try await server.connected { client in
            var random = SplitMix64(state: 1)
            for round in 0..<300 {
                let peer = try HTTP2Peer(connectingTo: server.socket)
                let frames = [Frame.settings, .ping(7)] + (try Self.prepare("\(round)", on: 1)) + [.reset(1)]
                var bytes = frames.flatMap(\.bytes)
                for _ in 0..<Int.random(in: 1...4, using: &random) {
                    let index = Int.random(in: 0..<bytes.count, using: &random)
                    bytes[index] = UInt8.random(in: 0...255, using: &random)
                }
                // The server may have closed the connection already.
                try? peer.send(bytes)
                if round % 30 == 0 { _ = try await client.list() }
            }
            _ = try await client.prepare("still")
        }
        #expect(server.process?.isRunning == true)
    }

    @Test("The server closes the connection of a peer that sends PINGs and reads no answers")
    func pingFlood() throws {
        let server = try RunningServer()
        let peer = try HTTP2Peer(connectingTo: server.socket)
        try peer.send([.settings])
        let flood = (1...1000).map(Frame.ping)
        #expect(throws: HTTP2Peer.Closed.self) {
            // 170 MB.
            for _ in 1...10_000 { try peer.send(flood) }
        }
        #expect(try server.residentPeak() < 200_000)
    }

    @Test("The connection to containerd answers every PING")
    func pingsOfContainerd() async throws {
        let server = try RunningServer()
        let target = try server.scratch.makeDirectory("target")
        let socket = server.socket
        let listener = try HTTP2Peer.listening(at: server.containerd)
        defer { close(listener) }
        let call = Task {
            try await RunningServer.diffing(on: socket) { _ = try await $0.apply(Self.blob, onto: target) }
        }
        defer { call.cancel() }
        // Were a thread of Swift's pool blocked here, the call might have to wait for another test's end.
        try await onThread {
            let peer = try HTTP2Peer(acceptedBy: listener)
            try peer.send([.settings])
            try Self.exchangePings(with: peer)
        }
        call.cancel()
        _ = await call.result
    }

    /// Sends a PING for each answer, as Go's gRPC does.
    private static func exchangePings(with peer: HTTP2Peer) throws {
        for number in 1...manyFrames {
            try peer.send([.ping(number)])
            var frame = try peer.next()
            while frame.kind != Frame.Kind.ping {
                try #require(frame.kind != Frame.Kind.goAway, "after \(number) PINGs")
                frame = try peer.next()
            }
            try #require(frame == .answer(to: number))
        }
    }

    @Test(
        "Cancelling 500 calls within a second fails no other call of the connection", .timeLimit(.minutes(1))
    )
    func cancellations() async throws {
        let server = try RunningServer()
        // This containerd accepts connections and answers nothing: calls of the diff service last until they are
        // cancelled.
        let containerd = try HTTP2Peer.listening(at: server.containerd)
        defer { close(containerd) }
        let target = try server.scratch.makeDirectory("target")
        let transport = try HTTP2ClientTransport.Posix(
            target: .unixDomainSocket(path: server.socket.string), transportSecurity: .plaintext)
        try await withGRPCClient(transport: transport) { client in
            let (snapshots, diffs) = (Snapshots(wrapping: client), Diffs(wrapping: client))
            _ = try await snapshots.prepare("a")
            let calls = (1...500).map { _ in
                Task { _ = try await diffs.apply(Self.blob, onto: target) }
            }
            // When later calls have been answered, the server has received these.
            for _ in 1...20 { _ = try await snapshots.stat("a") }
            let other = Task {
                for number in 1...100 {
                    _ = try await snapshots.prepare("\(number)")
                    _ = try await snapshots.stat("\(number)")
                }
            }
            for call in calls { call.cancel() }
            try await other.value
            var failures = 0
            for call in calls where await failure({ try await call.value }) != nil { failures += 1 }
            #expect(failures == calls.count)
        }
        #expect(try server.names().count == 101)
    }

    @Test(
        "A client that cancels calls in a loop is slowed down, and does not use up memory",
        .timeLimit(.minutes(1))
    )
    func resetFlood() async throws {
        let server = try RunningServer()
        try await server.connected { _ = try await $0.prepare("a") }
        let before = try server.residentPeak()
        let peer = try HTTP2Peer(connectingTo: server.socket)
        try peer.send([.settings])
        let message = Containerd_Services_Snapshots_V1_StatSnapshotRequest.with {
            $0.snapshotter = "unpack"
            $0.key = "a"
        }
        let request: [UInt8] = try message.serializedBytes()
        let start = ContinuousClock.now
        for stream in stride(from: UInt32(1), to: 8000, by: 2) {
            try peer.send(
                Frame.call("/containerd.services.snapshots.v1.Snapshots/Stat", request, on: stream)
                    + [.reset(stream)])
        }
        try peer.send([.ping(1)])
        var frame = try peer.next()
        while frame.kind != Frame.Kind.ping {
            try #require(frame.kind != Frame.Kind.goAway)
            frame = try peer.next()
        }
        #expect(.now - start > .seconds(1))
        // A sanitizer keeps freed memory.
        if !TestEnvironment.isSanitized { #expect(try server.residentPeak() < before + 50_000) }
        // Another connection is not slowed down.
        try await server.connected { _ = try await $0.stat("a") }
    }

    private static let blob = Containerd_Types_Descriptor.with {
        $0.mediaType = Packing.none.mediaType.rawValue
        $0.digest = "sha256:\(String(repeating: "a", count: 64))"
        $0.size = 1000
    }
}
