import Glibc
import SystemPackage
import TestSupport
import Testing

/// One side of an HTTP/2 connection over a Unix socket, which sends and receives single frames (RFC 9113).
final class HTTP2Peer {
    struct Frame: Equatable {
        enum Kind {
            static let data: UInt8 = 0
            static let headers: UInt8 = 1
            static let priority: UInt8 = 2
            static let reset: UInt8 = 3
            static let settings: UInt8 = 4
            static let ping: UInt8 = 6
            static let goAway: UInt8 = 7
            static let windowUpdate: UInt8 = 8
            static let continuation: UInt8 = 9
        }

        let kind: UInt8
        var flags: UInt8 = 0
        var stream: UInt32 = 0
        var payload: [UInt8] = []

        static let acknowledged: UInt8 = 0x1
        static let endStream: UInt8 = 0x1
        static let endHeaders: UInt8 = 0x4

        static let settings = Frame(kind: Kind.settings)

        static func ping(_ number: UInt64) -> Frame { Frame(kind: Kind.ping, payload: number.bytes) }

        static func answer(to number: UInt64) -> Frame {
            Frame(kind: Kind.ping, flags: acknowledged, payload: number.bytes)
        }

        /// Cancels a call: RST_STREAM with the code CANCEL.
        static func reset(_ stream: UInt32) -> Frame {
            Frame(kind: Kind.reset, stream: stream, payload: UInt32(8).bytes)
        }

        /// Semaphore the peer to send more bytes: on a stream, or on the connection (0).
        static func windowUpdate(_ bytes: UInt32, on stream: UInt32) -> Frame {
            Frame(kind: Kind.windowUpdate, stream: stream, payload: bytes.bytes)
        }

        /// The lowest priority (RFC 7540, 6.3).
        static func priority(of stream: UInt32) -> Frame {
            Frame(kind: Kind.priority, stream: stream, payload: UInt32(0).bytes + [0])
        }

        /// A unary call of gRPC with a message of fewer than 16 KiB.
        static func call(_ path: String, _ message: [UInt8], on stream: UInt32) -> [Frame] {
            // Indexed fields `:method: POST`, `:scheme: http`; literal ones without indexing (RFC 7541, appendix A).
            let headers =
                [0x83, 0x86] + field(4, path) + field(1, "localhost") + field(31, "application/grpc")
                + [0x00] + string("te") + string("trailers")
            return [
                Frame(kind: Kind.headers, flags: endHeaders, stream: stream, payload: headers),
                Frame(
                    kind: Kind.data, flags: endStream, stream: stream,
                    payload: [0] + UInt32(message.count).bytes + message),
            ]
        }

        private static func field(_ name: UInt8, _ value: String) -> [UInt8] {
            // The index has a prefix of four bits.
            (name < 15 ? [name] : [0x0F, name - 15]) + string(value)
        }

        private static func string(_ text: String) -> [UInt8] { [UInt8(text.utf8.count)] + text.utf8 }

        var isEndOfStream: Bool {
            [Kind.headers, Kind.data].contains(kind) && flags & Self.endStream != 0
        }

        /// The last stream that a GOAWAY frame names.
        var lastStream: UInt32 { payload.prefix(4).reduce(UInt32(0)) { $0 << 8 | UInt32($1) } }

        var bytes: [UInt8] {
            UInt32(payload.count).bytes.dropFirst() + [kind, flags] + stream.bytes + payload
        }
    }

    private let socket: Int32

    deinit { close(socket) }

    /// Connects to a server, and sends the connection preface without the SETTINGS frame.
    init(connectingTo path: FilePath) throws {
        socket = try Self.socket()
        try #require(Self.withAddress(path) { connect(socket, $0, $1) } == 0)
        try send(Array("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".utf8))
    }

    /// Takes the server's side of the first connection to a listening socket, and receives the connection preface.
    init(acceptedBy listener: Int32) throws {
        socket = accept(listener, nil, nil)
        try #require(socket >= 0)
        try Self.setTimeout(of: socket)
        var preface = 24
        while preface > 0 { preface -= try receive(preface).count }
    }

    /// Returns a socket to which clients can connect.
    static func listening(at path: FilePath) throws -> Int32 {
        let listener = try socket()
        try #require(Self.withAddress(path) { bind(listener, $0, $1) } == 0 && listen(listener, 4096) == 0)
        return listener
    }

    private static func socket() throws -> Int32 {
        let socket = Glibc.socket(
            AF_UNIX, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
        try #require(socket >= 0)
        try HTTP2Peer.setTimeout(of: socket)
        return socket
    }

    /// 20 s, so that no test waits forever.
    private static func setTimeout(of socket: Int32) throws {
        var limit = timeval(tv_sec: 20, tv_usec: 0)
        for option in [SO_RCVTIMEO, SO_SNDTIMEO] {
            let size = socklen_t(MemoryLayout<timeval>.size)
            try #require(setsockopt(socket, SOL_SOCKET, option, &limit, size) == 0)
        }
    }

    private static func withAddress(
        _ path: FilePath, _ body: (UnsafePointer<sockaddr>, socklen_t) -> Int32
    ) -> Int32 {
        var address = sockaddr_un()
        address.sun_family = sa_family_t(AF_UNIX)
        withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: path.string.utf8) }
        return withUnsafePointer(to: &address) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                body($0, socklen_t(MemoryLayout<sockaddr_un>.size))
            }
        }
    }

    struct Closed: Error {}

    /// - Throws: `Closed` when the peer has closed the connection, or accepts nothing for 20 s.
    func send(_ frames: [Frame]) throws { try send(frames.flatMap(\.bytes)) }

    func send(_ bytes: [UInt8]) throws {
        var rest = bytes[...]
        while !rest.isEmpty {
            let count = rest.withUnsafeBytes {
                Glibc.send(socket, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL))
            }
            guard count > 0 else { throw Closed() }
            rest = rest.dropFirst(count)
        }
    }

    /// Returns the next frame that fulfils a condition. Other frames are dropped.
    func next(where shouldContinue: (Frame) -> Bool) throws -> Frame {
        while true {
            let frame = try next()
            if shouldContinue(frame) { return frame }
        }
    }

    /// - Throws: `Closed` when the peer has closed the connection, or sends nothing for 20 s.
    func next() throws -> Frame {
        let header = try receive(9)
        let length = Int(header[0]) << 16 | Int(header[1]) << 8 | Int(header[2])
        let stream = header[5...].reduce(UInt32(0)) { $0 << 8 | UInt32($1) }
        return Frame(kind: header[3], flags: header[4], stream: stream, payload: try receive(length))
    }

    private func receive(_ count: Int) throws -> [UInt8] {
        var bytes = [UInt8](repeating: 0, count: count)
        var filled = 0
        while filled < count {
            let received = bytes.withUnsafeMutableBytes {
                recv(socket, $0.baseAddress?.advanced(by: filled), count - filled, 0)
            }
            guard received > 0 else { throw Closed() }
            filled += received
        }
        return bytes
    }
}

extension FixedWidthInteger {
    /// In network byte order.
    fileprivate var bytes: [UInt8] { withUnsafeBytes(of: bigEndian, Array.init) }
}
