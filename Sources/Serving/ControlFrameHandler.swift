internal import NIOCore
internal import NIOHTTP2

/// Handles PING and RST_STREAM frames (RFC 9113, 6.7 and 6.4) before swift-nio-http2 counts them.
///
/// swift-nio-http2 1.46.0 ends a connection with GOAWAY, last stream 0, after more than 200 PING or 200 RST_STREAM frames in 30 s;
/// grpc-swift-nio-transport 2.9.2 has no setting for that. Go's gRPC sends a PING for about every answer, by which it estimates
/// the bandwidth, and an RST_STREAM for every call that is cancelled. After such a GOAWAY it repeats calls that the server has
/// executed.
///
/// Floods stay bounded:
/// - PINGs of a peer that does not read the answers go to swift-nio-http2, whose limit ends the connection (CVE-2019-9512).
/// - A peer that cancels more calls than `maximumResets` in a second is not read from until the second is over (rapid reset,
///   CVE-2023-44487). Nothing is lost, and the connection stays.
///
/// It is the first handler of a connection, of either side's. Only a server's streams are registered.
final class ControlFrameHandler: ChannelDuplexHandler {
    typealias InboundIn = ByteBuffer
    typealias InboundOut = ByteBuffer
    typealias OutboundIn = IOData
    typealias OutboundOut = IOData

    /// Bytes of the preface that a client sends before its first frame (RFC 9113, 3.4).
    private static let prefaceSize = 24
    /// Answers to PINGs that the socket has not taken yet. Go's gRPC waits for each answer before the next PING.
    private static let maximumUnwritten = 1000
    /// RST_STREAM frames in a second.
    private static let maximumResets = 1000

    /// The start of a frame that is to be handled here, until the rest of it has come.
    private var incomplete: ByteBuffer?
    /// Bytes that go on as they are: the rest of a frame, or of the preface.
    private var opaqueBytes: Int

    /// Whether this side has sent its SETTINGS frame, which has to be the first.
    private var hasWritten = false
    private var unwrittenAnswers = 0
    private var isFlushNeeded = false

    /// The open streams of a server.
    private var streams = [HTTP2StreamID: any Channel]()
    private var newestStream = HTTP2StreamID.rootStream
    /// The stream that is being closed because of an RST_STREAM frame.
    private var resetStream: HTTP2StreamID?
    private var resets = 0
    private var isReadHeld = false

    private init(opaqueBytes: Int) { self.opaqueBytes = opaqueBytes }

    // MARK: Connections and streams

    /// Prepares a connection that a client has made to this server.
    static func addToServer(_ connection: any Channel) -> EventLoopFuture<Void> {
        add(ControlFrameHandler(opaqueBytes: prefaceSize), to: connection)
    }

    /// Prepares a connection of this process to a server.
    static func addToClient(_ connection: any Channel) -> EventLoopFuture<Void> {
        add(ControlFrameHandler(opaqueBytes: 0), to: connection)
    }

    private static func add(
        _ handler: @autoclosure () -> ControlFrameHandler, to connection: any Channel
    ) -> EventLoopFuture<Void> {
        connection.eventLoop.makeCompletedFuture {
            try connection.pipeline.syncOperations.addHandler(handler(), position: .first)
        }
    }

    /// Registers a stream that a client has opened, so that an RST_STREAM frame closes it.
    static func register(_ stream: any Channel) -> EventLoopFuture<Void> {
        stream.eventLoop.makeCompletedFuture {
            guard let connection = stream.parent,
                let id = try stream.syncOptions?.getOption(HTTP2StreamChannelOptions.streamID)
            else { return }
            let handler = try connection.pipeline.syncOperations.handler(type: Self.self)
            handler.streams[id] = stream
            handler.newestStream = max(handler.newestStream, id)
            stream.closeFuture.assumeIsolated().whenComplete { _ in handler.streams[id] = nil }
        }
    }

    // MARK: Inbound

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        var bytes = unwrapInboundIn(data)
        incomplete.setOrWriteBuffer(&bytes)
        guard let all = incomplete.take() else { return }
        var input = all
        // The bytes from here to the reader index go on.
        var start = input.readerIndex
        while true {
            let skipped = min(opaqueBytes, input.readableBytes)
            input.moveReaderIndex(forwardBy: skipped)
            opaqueBytes -= skipped
            guard opaqueBytes == 0, let header = FrameHeader(input) else { break }
            guard header.isHandled else {
                opaqueBytes = header.frameSize
                continue
            }
            let frameStart = input.readerIndex
            guard let frame = input.readSlice(length: header.frameSize) else { break }
            // The stream of the frame may begin here.
            passOn(all, start..<frameStart, context)
            start = handle(frame, header, context) ? input.readerIndex : frameStart
        }
        passOn(all, start..<input.readerIndex, context)
        if input.readableBytes > 0 { incomplete = input.slice() }
    }

    private func passOn(_ buffer: ByteBuffer, _ range: Range<Int>, _ context: ChannelHandlerContext) {
        guard !range.isEmpty, let bytes = buffer.getSlice(at: range.lowerBound, length: range.count) else {
            return
        }
        context.fireChannelRead(wrapInboundOut(bytes))
    }

    /// - Returns: false for a frame that is to go on.
    private func handle(
        _ frame: ByteBuffer, _ header: FrameHeader, _ context: ChannelHandlerContext
    ) -> Bool {
        switch header.kind {
        case FrameHeader.ping: answer(frame, context)
        default: reset(header.stream, context)
        }
    }

    func channelReadComplete(context: ChannelHandlerContext) {
        // swift-nio-http2 first: a flush may make the connection writable, and it then sends data even if it has control frames
        // from before this moment, which have to come first.
        context.fireChannelReadComplete()
        if isFlushNeeded {
            isFlushNeeded = false
            context.flush()
        }
    }

    /// Answers a PING frame with the same eight bytes.
    private func answer(_ ping: ByteBuffer, _ context: ChannelHandlerContext) -> Bool {
        guard hasWritten, unwrittenAnswers < Self.maximumUnwritten else { return false }
        var answer = ping
        answer.setInteger(FrameHeader.acknowledged, at: answer.readerIndex + FrameHeader.flagsOffset)
        unwrittenAnswers += 1
        let written = context.eventLoop.makePromise(of: Void.self)
        written.futureResult.assumeIsolated().whenComplete { _ in self.unwrittenAnswers -= 1 }
        context.write(wrapOutboundOut(.byteBuffer(answer)), promise: written)
        isFlushNeeded = true
        return true
    }

    /// Cancels the call of a stream, as swift-nio-http2 does on RST_STREAM.
    private func reset(_ stream: HTTP2StreamID, _ context: ChannelHandlerContext) -> Bool {
        // Before it was opened, that is an error of the connection.
        guard stream != .rootStream, stream <= newestStream else { return false }
        countReset(context)
        resetStream = stream
        streams[stream]?.close(promise: nil)
        resetStream = nil
        return true
    }

    // MARK: Outbound

    func write(context: ChannelHandlerContext, data: NIOAny, promise: EventLoopPromise<Void>?) {
        hasWritten = true
        // A peer that has reset a stream must not get an RST_STREAM in response (RFC 9113, 5.4.2).
        if let resetStream, case .byteBuffer(let bytes) = unwrapOutboundIn(data),
            let header = FrameHeader(bytes), header.kind == FrameHeader.reset, header.stream == resetStream
        {
            promise?.succeed()
        } else {
            context.write(data, promise: promise)
        }
    }

    func read(context: ChannelHandlerContext) {
        if resets > Self.maximumResets { isReadHeld = true } else { context.read() }
    }

    private func countReset(_ context: ChannelHandlerContext) {
        resets += 1
        guard resets == 1 else { return }
        context.eventLoop.assumeIsolated().scheduleTask(in: .seconds(1)) {
            self.resets = 0
            if self.isReadHeld {
                self.isReadHeld = false
                context.read()
            }
        }
    }
}

/// The first bytes of a frame (RFC 9113, 4.1).
private struct FrameHeader {
    static let size = 9
    static let flagsOffset = 4

    static let reset: UInt8 = 3
    static let ping: UInt8 = 6
    /// The flag ACK.
    static let acknowledged: UInt8 = 1

    /// Bytes after the header.
    private let payloadSize: Int
    let kind: UInt8
    let flags: UInt8
    let stream: HTTP2StreamID

    var frameSize: Int { Self.size + payloadSize }

    /// Nil if there are not enough bytes.
    init?(_ bytes: ByteBuffer) {
        let start = bytes.readerIndex
        guard
            let (sizeAndKind, flags, stream) = bytes.getMultipleIntegers(
                at: start, as: (UInt32, UInt8, UInt32).self)
        else { return nil }
        payloadSize = Int(sizeAndKind >> 8)
        kind = UInt8(truncatingIfNeeded: sizeAndKind)
        self.flags = flags
        // The first bit is reserved.
        self.stream = HTTP2StreamID(Int(stream & 0x7FFF_FFFF))
    }

    /// Whether it is of a PING that asks for an answer, or of an RST_STREAM. Malformed ones are swift-nio-http2's to refuse.
    var isHandled: Bool {
        switch kind {
        case Self.ping: payloadSize == 8 && flags & Self.acknowledged == 0 && stream == .rootStream
        case Self.reset: payloadSize == 4
        default: false
        }
    }
}
