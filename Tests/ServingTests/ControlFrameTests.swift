import Foundation
import NIOCore
import NIOEmbedded
import Serving
import TestSupport
import Testing

/// Tests `ControlFrameHandler` with random frames in random pieces.
@Suite("Control frames")
struct ControlFrameTests {
    private typealias Frame = HTTP2Peer.Frame

    private static let rounds =
        ProcessInfo.processInfo.environment["UNPACK_ROUNDS"].flatMap(UInt64.init) ?? 500

    @Test("PINGs are answered in order and all other bytes are passed on, however the input is split")
    func cutFrames() throws {
        for seed in 0..<Self.rounds {
            var random = SplitMix64(state: seed)
            let conversation = Conversation.random(using: &random)
            let (whole, pieces) = (Connection(), Connection())
            try whole.receive(conversation.bytes)
            try pieces.receive(conversation.bytes, cutBy: &random)
            for connection in [whole, pieces] {
                try #require(try connection.passedOn() == conversation.passedOn, "seed \(seed)")
                try #require(try connection.answers() == conversation.answers, "seed \(seed)")
            }
        }
    }

    @Test("No byte of corrupt frames is lost or duplicated, however the input is split")
    func corruptFrames() throws {
        for seed in 0..<Self.rounds {
            var random = SplitMix64(state: seed)
            var bytes = Conversation.random(using: &random).bytes
            for _ in 0..<Int.random(in: 1...8, using: &random) {
                let index = Int.random(in: 0..<bytes.count, using: &random)
                switch Int.random(in: 0..<3, using: &random) {
                case 0: bytes[index] = UInt8.random(in: 0...255, using: &random)
                case 1: bytes.remove(at: index)
                default: bytes.insert(UInt8.random(in: 0...255, using: &random), at: index)
                }
            }
            let (whole, pieces) = (Connection(), Connection())
            try whole.receive(bytes)
            try pieces.receive(bytes, cutBy: &random)
            let (passedOn, answers) = (try whole.passedOn(), try whole.answers())
            try #require(try pieces.passedOn() == passedOn, "seed \(seed)")
            try #require(try pieces.answers() == answers, "seed \(seed)")
            // The handler may hold back the beginning of a frame: fewer bytes than a PING frame has.
            let pings = 17 * answers.count
            try #require((0..<17).contains(bytes.count - passedOn.count - pings), "seed \(seed)")
            var rest = bytes[...]
            let isSubsequence = passedOn.allSatisfy { byte in
                guard let index = rest.firstIndex(of: byte) else { return false }
                rest = rest[(index + 1)...]
                return true
            }
            try #require(isSubsequence, "seed \(seed)")
        }
    }

    @Test("No PING is answered before this side has sent its SETTINGS frame")
    func beforeSettings() throws {
        let connection = Connection(hasSentSettings: false)
        let bytes = Conversation.preface + Frame.settings.bytes + Frame.ping(1).bytes
        try connection.receive(bytes)
        #expect(try connection.passedOn() == bytes)
        #expect(try connection.answers().isEmpty)
    }

    @Test("PINGs beyond 1,000 unread answers are passed on to swift-nio-http2 and its limit")
    func unreadAnswers() throws {
        let connection = Connection()
        connection.holdsWrites = true
        let flood = (1...1500).map(Frame.ping)
        try connection.receive(
            Conversation.preface + Frame.settings.bytes + flood.flatMap(\.bytes))
        let left = flood.dropFirst(ControlFrameHandler.maximumUnwritten).flatMap(\.bytes)
        #expect(try connection.passedOn() == Conversation.preface + Frame.settings.bytes + left)
    }

    @Test("A peer that sends more than 20,000 PINGs in a second is not read from until the second is over")
    func pingRate() throws {
        let connection = Connection()
        try connection.receive(Conversation.preface + Frame.settings.bytes)
        let pings = (1...500).map(Frame.ping).flatMap(\.bytes)
        for _ in 0..<40 { try connection.receive(pings) }
        #expect(connection.reads)
        try connection.receive(Frame.ping(0).bytes)
        #expect(!connection.reads)
        connection.passSecond()
        #expect(connection.reads)
        #expect(try connection.answers().count == 20_001)
    }

    @Test("A payload that looks like a GOAWAY frame is not changed")
    func contentLikeFrames() throws {
        let connection = Connection()
        let content = Frame(kind: Frame.Kind.goAway, payload: [0, 0, 0, 0, 0, 0, 0, 0]).bytes
        let header = Array(Frame(kind: Frame.Kind.data, stream: 1, payload: content).bytes.prefix(9))
        for part in [header, content] { try connection.send(part) }
        #expect(try connection.sent() == header + content)
    }
}

/// The bytes that a client sends, and the expected output of the handler.
private struct Conversation {
    private typealias Frame = HTTP2Peer.Frame

    static let preface = Array("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".utf8)

    private(set) var bytes = preface + Frame.settings.bytes
    private(set) var passedOn = preface + Frame.settings.bytes
    /// The frames that answer PINGs.
    private(set) var answers = [[UInt8]]()

    static func random(using random: inout SplitMix64) -> Conversation {
        var conversation = Conversation()
        for _ in 0..<Int.random(in: 1...30, using: &random) {
            let number = UInt64.random(in: 0...UInt64.max, using: &random)
            let stream = UInt32.random(in: 1...9, using: &random)
            switch Int.random(in: 0..<8, using: &random) {
            case 0, 1, 2: conversation.addPing(number)
            case 3:
                // A payload that looks like frames.
                let content = Frame.ping(number).bytes + Frame.reset(stream).bytes
                conversation.add(Frame(kind: Frame.Kind.data, stream: stream, payload: content))
            case 4: conversation.add(.answer(to: number))
            case 5: conversation.add(Frame(kind: Frame.Kind.ping, payload: [1, 2, 3]))
            // No stream is registered: the RST_STREAM frame is a connection error.
            case 6: conversation.add(.reset(stream))
            default:
                // A PING between the frames of a field block.
                conversation.add(Frame(kind: Frame.Kind.headers, stream: stream, payload: [1, 2]))
                conversation.add(.ping(number))
                conversation.add(
                    Frame(kind: Frame.Kind.continuation, flags: Frame.endHeaders, stream: stream))
            }
        }
        return conversation
    }

    private mutating func addPing(_ number: UInt64) {
        bytes += Frame.ping(number).bytes
        answers.append(Frame.answer(to: number).bytes)
    }

    private mutating func add(_ frame: Frame) {
        bytes += frame.bytes
        passedOn += frame.bytes
    }
}

/// A server's connection whose pipeline has only this handler.
private final class Connection {
    private let channel: EmbeddedChannel
    private let holder = WriteHolder()
    private let firstFrame = HTTP2Peer.Frame.settings.bytes
    private let hasSentSettings: Bool

    init(hasSentSettings: Bool = true) {
        self.hasSentSettings = hasSentSettings
        channel = EmbeddedChannel(handlers: [holder, ControlFrameHandler(isServer: true)])
        if hasSentSettings { try? send(firstFrame) }
    }

    deinit { _ = try? channel.finish(acceptAlreadyClosed: true) }

    /// Whether the socket accepts no bytes.
    var holdsWrites: Bool {
        get { holder.isHolding }
        set { holder.isHolding = newValue }
    }

    /// Whether a read request reaches the socket.
    var reads: Bool {
        let before = holder.reads
        channel.read()
        return holder.reads > before
    }

    func passSecond() { channel.embeddedEventLoop.advanceTime(by: .seconds(1)) }

    func receive(_ bytes: [UInt8]) throws { _ = try channel.writeInbound(ByteBuffer(bytes: bytes)) }

    func receive(_ bytes: [UInt8], cutBy random: inout SplitMix64) throws {
        var rest = bytes[...]
        while !rest.isEmpty {
            let piece = rest.prefix(Int.random(in: 1...40, using: &random))
            try receive(Array(piece))
            rest = rest.dropFirst(piece.count)
        }
    }

    func send(_ bytes: [UInt8]) throws {
        try channel.writeOutbound(IOData.byteBuffer(ByteBuffer(bytes: bytes)))
    }

    func passedOn() throws -> [UInt8] {
        var bytes = [UInt8]()
        while let buffer = try channel.readInbound(as: ByteBuffer.self) {
            bytes += buffer.readableBytesView
        }
        return bytes
    }

    /// The writes of this side after its SETTINGS frame.
    func answers() throws -> [[UInt8]] {
        var writes = [[UInt8]]()
        while let data = try channel.readOutbound(as: IOData.self) {
            if case .byteBuffer(let buffer) = data { writes.append(Array(buffer.readableBytesView)) }
        }
        if hasSentSettings { try #require(writes.removeFirst() == firstFrame) }
        return writes
    }

    func sent() throws -> [UInt8] { try answers().flatMap(\.self) }
}

/// Takes the place of the socket. While it holds, it behaves as if the peer read nothing.
private final class WriteHolder: ChannelOutboundHandler {
    typealias OutboundIn = IOData

    var isHolding = false
    private(set) var reads = 0
    private var promises = [EventLoopPromise<Void>]()

    func write(context: ChannelHandlerContext, data: NIOAny, promise: EventLoopPromise<Void>?) {
        guard isHolding else { return context.write(data, promise: promise) }
        if let promise { promises.append(promise) }
    }

    func read(context: ChannelHandlerContext) {
        reads += 1
        context.read()
    }

    func handlerRemoved(context: ChannelHandlerContext) {
        for promise in promises { promise.fail(ChannelError.ioOnClosedChannel) }
    }
}
