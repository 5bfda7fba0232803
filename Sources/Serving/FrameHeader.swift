internal import NIOCore
internal import NIOHTTP2

/// The header of a frame (RFC 9113, 4.1).
struct FrameHeader {
    static let size = 9
    static let flagsOffset = 4

    static let headers: UInt8 = 1
    static let reset: UInt8 = 3
    static let pushPromise: UInt8 = 5
    static let ping: UInt8 = 6
    static let goAway: UInt8 = 7
    static let continuation: UInt8 = 9
    /// The flag ACK.
    static let acknowledged: UInt8 = 0x1
    /// The flag END_HEADERS.
    static let endHeaders: UInt8 = 0x4

    /// Bytes after the header.
    private let payloadSize: Int
    let kind: UInt8
    let flags: UInt8
    let stream: HTTP2StreamID

    var frameSize: Int { Self.size + payloadSize }

    /// - Returns: nil if the header is not complete.
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

    /// Whether the frame is a PING that asks for an answer, or an RST_STREAM. Malformed frames are left to
    /// swift-nio-http2.
    var isControl: Bool {
        switch kind {
        case Self.ping: payloadSize == 8 && flags & Self.acknowledged == 0 && stream == .rootStream
        case Self.reset: payloadSize == 4
        default: false
        }
    }

    /// Whether a CONTINUATION frame must follow (RFC 9113, 4.3); nil for frames that do not belong to a field block.
    var hasContinuation: Bool? {
        switch kind {
        case Self.headers, Self.pushPromise, Self.continuation: flags & Self.endHeaders == 0
        default: nil
        }
    }
}
