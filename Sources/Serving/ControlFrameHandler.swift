package import NIOCore
internal import NIOHTTP2

/// Handles PING and RST_STREAM frames (RFC 9113, 6.7 and 6.4) before swift-nio-http2 counts them, and corrects GOAWAY
/// frames.
///
/// swift-nio-http2 1.46.0 ends a connection with GOAWAY, last stream 0, after more than 200 control frames or 200
/// RST_STREAM frames in 30 s; grpc-swift-nio-transport 2.9.2 has no setting for that. Go's gRPC sends a PING for about
/// every answer, to estimate the bandwidth, and an RST_STREAM for every call that is cancelled. Last stream 0 means
/// that the server has processed no call (RFC 9113, 6.8), so Go's gRPC repeats calls that were executed. Every GOAWAY
/// frame of a server therefore names at least the newest stream.
///
/// Floods stay bounded:
/// - PINGs of a peer that does not read the answers are passed to swift-nio-http2, whose limit ends the connection
///   (CVE-2019-9512).
/// - A peer that sends more than `maximumPings` or cancels more than `maximumResets` calls in a second is not read from
///   until that second is over (rapid reset, CVE-2023-44487). Nothing is lost, and the connection stays open.
///
/// Frames that are out of order are passed to swift-nio-http2, which refuses them: those before the peer's SETTINGS
/// frame (RFC 9113, 3.4) and those between the frames of a field block (4.3).
///
/// The handler is the first one of a connection, on either side. Only a server registers streams.
package final class ControlFrameHandler: ChannelDuplexHandler {
    package typealias InboundIn = ByteBuffer
    package typealias InboundOut = ByteBuffer
    package typealias OutboundIn = IOData
    package typealias OutboundOut = IOData

    /// Bytes of the preface that a client sends before its first frame (RFC 9113, 3.4).
    private static let prefaceSize = 24
    /// The limit of answers to PINGs that the socket has not taken yet. Go's gRPC waits for each answer before the next
    /// PING.
    package static let maximumUnwritten = 1000
    /// The limit of PING frames in a second. Go's gRPC sends one per round trip.
    private static let maximumPings = 20_000
    /// The limit of RST_STREAM frames in a second.
    private static let maximumResets = 1000

    /// The beginning of a frame that this handler needs as a whole.
    private var incomplete: ByteBuffer?
    /// The number of bytes to pass on unchanged: the rest of a frame, or of the preface.
    private var opaqueBytes: Int
    /// Whether the peer's first frame has begun. It must be a SETTINGS frame.
    private var hasFirstFrame = false
    private var isInFieldBlock = false

    /// The number of bytes of the current frame, or of the preface, that this side has not written yet.
    private var unwrittenBytes: Int
    /// Whether this side has written anything. Its first frame must be a SETTINGS frame.
    private var hasWritten = false
    private var unwrittenAnswers = 0
    private var isFlushNeeded = false

    /// The open streams; empty on a client.
    private var streams = [HTTP2StreamID: any Channel]()
    private var newestStream = HTTP2StreamID.rootStream
    /// The stream that is being closed because the peer has reset it.
    private var resetStream: HTTP2StreamID?

    /// The numbers of PING and RST_STREAM frames in the current second.
    private var pings = 0
    private var resets = 0
    private var isSecondRunning = false
    private var isReadHeld = false

    /// - Parameter isServer: whether this side is the server; its peer then sends a preface.
    package init(isServer: Bool) {
        opaqueBytes = isServer ? Self.prefaceSize : 0
        unwrittenBytes = isServer ? 0 : Self.prefaceSize
    }

    // MARK: Connections and streams

    /// Adds the handler to a connection that a client has opened.
    static func addToServer(_ connection: any Channel) -> EventLoopFuture<Void> {
        add(ControlFrameHandler(isServer: true), to: connection)
    }

    /// Adds the handler to a connection that this process opens as a client.
    static func addToClient(_ connection: any Channel) -> EventLoopFuture<Void> {
        add(ControlFrameHandler(isServer: false), to: connection)
    }

    private static func add(
        _ handler: @autoclosure () -> ControlFrameHandler, to connection: any Channel
    ) -> EventLoopFuture<Void> {
        connection.eventLoop.makeCompletedFuture {
            try connection.pipeline.syncOperations.addHandler(handler(), position: .first)
        }
    }

    /// Registers a stream that a client has opened, so that an RST_STREAM frame closes it and a GOAWAY frame includes
    /// it.
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

    package func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        var bytes = unwrapInboundIn(data)
        incomplete.setOrWriteBuffer(&bytes)
        guard let all = incomplete.take() else { return }
        var input = all
        // The bytes from `start` to the reader index are passed on.
        var start = input.readerIndex
        while true {
            let skipped = min(opaqueBytes, input.readableBytes)
            input.moveReaderIndex(forwardBy: skipped)
            opaqueBytes -= skipped
            guard opaqueBytes == 0, let header = FrameHeader(input) else { break }
            guard isInOrder(header), header.isControl else {
                opaqueBytes = header.frameSize
                continue
            }
            let frameStart = input.readerIndex
            guard let frame = input.readSlice(length: header.frameSize) else { break }
            // swift-nio-http2 must see the preceding bytes first: they may open the stream that this frame resets.
            passOn(all, start..<frameStart, context)
            start = handle(frame, header, context) ? input.readerIndex : frameStart
        }
        passOn(all, start..<input.readerIndex, context)
        if input.readableBytes > 0 { incomplete = input.slice() }
    }

    /// Whether a control frame is allowed here. Also updates the state.
    private func isInOrder(_ header: FrameHeader) -> Bool {
        defer {
            hasFirstFrame = true
            isInFieldBlock = header.hasContinuation ?? isInFieldBlock
        }
        return hasFirstFrame && !isInFieldBlock
    }

    private func passOn(_ buffer: ByteBuffer, _ range: Range<Int>, _ context: ChannelHandlerContext) {
        guard !range.isEmpty, let bytes = buffer.getSlice(at: range.lowerBound, length: range.count) else {
            return
        }
        context.fireChannelRead(wrapInboundOut(bytes))
    }

    /// - Returns: whether the frame was handled. Otherwise it must be passed on.
    private func handle(
        _ frame: ByteBuffer, _ header: FrameHeader, _ context: ChannelHandlerContext
    ) -> Bool {
        switch header.kind {
        case FrameHeader.ping: answer(frame, context)
        default: reset(header.stream, context)
        }
    }

    package func channelReadComplete(context: ChannelHandlerContext) {
        // swift-nio-http2 comes first: the flush may make the connection writable, and swift-nio-http2 would then send
        // data before control frames that it has queued earlier.
        context.fireChannelReadComplete()
        if isFlushNeeded {
            isFlushNeeded = false
            context.flush()
        }
    }

    /// Answers a PING frame with the same eight bytes.
    private func answer(_ ping: ByteBuffer, _ context: ChannelHandlerContext) -> Bool {
        guard hasWritten, unwrittenAnswers < Self.maximumUnwritten else { return false }
        pings += 1
        startSecond(context)
        var answer = ping
        answer.setInteger(FrameHeader.acknowledged, at: answer.readerIndex + FrameHeader.flagsOffset)
        unwrittenAnswers += 1
        let written = context.eventLoop.makePromise(of: Void.self)
        written.futureResult.assumeIsolated().whenComplete { _ in self.unwrittenAnswers -= 1 }
        context.write(wrapOutboundOut(.byteBuffer(answer)), promise: written)
        isFlushNeeded = true
        return true
    }

    /// Cancels the call of a stream, as swift-nio-http2 does for RST_STREAM.
    private func reset(_ stream: HTTP2StreamID, _ context: ChannelHandlerContext) -> Bool {
        // An RST_STREAM frame for a stream that was never opened is a connection error: swift-nio-http2 handles it.
        guard stream != .rootStream, stream <= newestStream else { return false }
        resets += 1
        startSecond(context)
        resetStream = stream
        streams[stream]?.close(promise: nil)
        resetStream = nil
        return true
    }

    // MARK: Outbound

    package func write(context: ChannelHandlerContext, data: NIOAny, promise: EventLoopPromise<Void>?) {
        hasWritten = true
        guard case .byteBuffer(var bytes) = unwrapOutboundIn(data), let header = frameStart(of: bytes) else {
            return context.write(data, promise: promise)
        }
        switch header.kind {
        case FrameHeader.reset where header.stream == resetStream:
            // A peer that has reset a stream must not get an RST_STREAM in response (RFC 9113, 5.4.2).
            promise?.succeed()
        case FrameHeader.goAway:
            includeNewestStream(&bytes)
            context.write(wrapOutboundOut(.byteBuffer(bytes)), promise: promise)
        default: context.write(data, promise: promise)
        }
    }

    /// Returns the header of the frame that begins with these bytes; nil if they continue a frame. swift-nio-http2
    /// writes the payload of a frame separately, and a payload may look like a frame.
    private func frameStart(of bytes: ByteBuffer) -> FrameHeader? {
        guard unwrittenBytes == 0, let header = FrameHeader(bytes) else {
            unwrittenBytes = max(0, unwrittenBytes - bytes.readableBytes)
            return nil
        }
        unwrittenBytes = max(0, header.frameSize - bytes.readableBytes)
        return header
    }

    /// Raises the last stream of a GOAWAY frame to the newest stream, whose call may have been processed.
    private func includeNewestStream(_ goAway: inout ByteBuffer) {
        let index = goAway.readerIndex + FrameHeader.size
        let newest = UInt32(truncatingIfNeeded: Int(newestStream))
        if let last = goAway.getInteger(at: index, as: UInt32.self), last < newest {
            goAway.setInteger(newest, at: index)
        }
    }

    package func read(context: ChannelHandlerContext) {
        if pings > Self.maximumPings || resets > Self.maximumResets {
            isReadHeld = true
        } else {
            context.read()
        }
    }

    private func startSecond(_ context: ChannelHandlerContext) {
        guard !isSecondRunning else { return }
        isSecondRunning = true
        context.eventLoop.assumeIsolated().scheduleTask(in: .seconds(1)) {
            self.isSecondRunning = false
            (self.pings, self.resets) = (0, 0)
            if self.isReadHeld {
                self.isReadHeld = false
                context.read()
            }
        }
    }
}
