/// What a layer blob is packed with, told by its first bytes: media types are often wrong.
package enum CompressionFormat: String, Sendable {
    case none, gzip, zstd

    /// - Parameter start: the first bytes of the blob, 512 of them unless it is shorter.
    /// - Throws: `CompressionFailure.unknownFormat` if no format is recognised.
    package init(sniffing start: RawSpan) throws(CompressionFailure) {
        func starts(with magic: [UInt8]) -> Bool {
            start.byteCount >= magic.count
                && magic.indices.allSatisfy {
                    start.unsafeLoadUnaligned(fromByteOffset: $0, as: UInt8.self) == magic[$0]
                }
        }
        /// A skippable frame may come first (RFC 8878, section 3.1.2): 0x184D2A5? in little-endian order.
        let isSkippable = (0..<16).contains { starts(with: [0x50 | UInt8($0), 0x2A, 0x4D, 0x18]) }
        if start.byteCount == 0 {
            self = .none
        } else if starts(with: [0x1F, 0x8B]) {
            self = .gzip
        } else if starts(with: [0x28, 0xB5, 0x2F, 0xFD]) || isSkippable {
            self = .zstd
        } else if isTar(start) {
            self = .none
        } else if starts(with: [0xFD, 0x37, 0x7A, 0x58, 0x5A, 0x00]) {
            throw .unknownFormat("xz")
        } else if starts(with: [0x42, 0x5A, 0x68]) {
            throw .unknownFormat("bzip2")
        } else if starts(with: [0x04, 0x22, 0x4D, 0x18]) {
            throw .unknownFormat("lz4")
        } else {
            throw .unknownFormat(nil)
        }
    }
}

/// Whether the first block is a tar header by its checksum (any dialect), or a block of zeros (pax(1), "ustar
/// Format").
private func isTar(_ start: RawSpan) -> Bool {
    guard start.byteCount >= 512 else { return false }
    var sum = 0
    // Some old tars added signed bytes.
    var signedSum = 0
    var isZero = true
    var field = 0
    for offset in 0..<512 {
        let byte = start.unsafeLoadUnaligned(fromByteOffset: offset, as: UInt8.self)
        isZero = isZero && byte == 0
        if (148..<156).contains(offset) {
            if (0x30...0x37).contains(byte) { field = field * 8 + Int(byte - 0x30) }
            sum += 0x20
            signedSum += 0x20
        } else {
            sum += Int(byte)
            signedSum += Int(Int8(bitPattern: byte))
        }
    }
    return isZero || sum == field || signedSum == field
}

/// A compressed stream that is not what it should be. Offsets are bytes of the compressed blob.
package enum CompressionFailure: Error, Equatable, Sendable, CustomStringConvertible {
    /// With the format's name where it is one that is known but not read.
    case unknownFormat(String?)
    case corrupt(format: CompressionFormat, reason: String, offset: Int64)
    case truncated(format: CompressionFormat, offset: Int64)
    case trailingGarbage(format: CompressionFormat, offset: Int64)
    case outOfMemory
    /// It can only be decompressed with more of it in memory than this, in bytes (RFC 8878, section 3.1.1.1.2).
    case windowTooLarge(limit: Int)

    package var description: String {
        switch self {
        case .unknownFormat(let name?): "it is compressed with \(name); gzip, zstd and plain tar are read"
        case .unknownFormat(nil): "it is neither gzip nor zstd nor tar"
        case .corrupt(let format, let reason, let offset):
            "corrupt \(format.rawValue) stream at byte \(offset) of the blob: \(reason)"
        case .truncated(let format, let offset):
            "the \(format.rawValue) stream ends too early, at byte \(offset) of the blob"
        case .trailingGarbage(let format, let offset):
            "garbage behind the \(format.rawValue) stream at byte \(offset) of the blob"
        case .outOfMemory: "no memory for the decompressor"
        case .windowTooLarge(let limit):
            "the zstd stream asks for a window of more than \(limit >> 20) MiB (--long of zstd(1))"
        }
    }
}

/// Turns the bytes of a blob into the bytes of its tar, a piece at a time.
package struct Decompressor: ~Copyable {
    private enum Stream: ~Copyable {
        case none
        case gzip(GzipStream)
        case zstd(ZstdStream)
    }

    /// How far one step came.
    package struct Step: Sendable {
        package let consumed: Int
        package let produced: Int
    }

    private var stream: Stream

    /// What zstd(1) decompresses without being asked for more, in bytes.
    package static let defaultMaximumWindow = 1 << 27

    /// - Parameter maximumWindow: bytes of output that a stream may have to be kept in memory, a power of two; gzip needs
    ///   32 KiB.
    package init(
        _ format: CompressionFormat, maximumWindow: Int = defaultMaximumWindow
    ) throws(CompressionFailure) {
        stream =
            switch format {
            case .none: .none
            case .gzip: .gzip(GzipStream())
            case .zstd: .zstd(try ZstdStream(maximumWindow: maximumWindow))
            }
    }

    /// Takes as much input as the output has room for behind `position`. `produced` may be 0 while the input
    /// lasts.
    package mutating func step(
        _ input: RawSpan, into output: inout MutableRawSpan, at position: Int
    ) throws(CompressionFailure) -> Step {
        try output.withUnsafeMutableBytes { memory throws(CompressionFailure) in
            try input.withUnsafeBytes { source throws(CompressionFailure) in
                let target = UnsafeMutableRawBufferPointer(rebasing: memory[position...])
                switch stream {
                case .none:
                    let count = min(source.count, target.count)
                    target.copyMemory(from: UnsafeRawBufferPointer(rebasing: source[..<count]))
                    return Step(consumed: count, produced: count)
                case .gzip(let gzip): return try gzip.step(source, into: target)
                case .zstd(let zstd): return try zstd.step(source, into: target)
                }
            }
        }
    }

    /// Takes all of the input, and lends what it becomes, a buffer at a time.
    package mutating func decompress(
        _ input: [UInt8], through buffer: inout [UInt8], _ body: (RawSpan) throws -> Void
    ) throws {
        var used = 0
        while true {
            var output = buffer.mutableSpan
            var bytes = output.mutableBytes
            let step = try step(input.span.bytes.extracting(droppingFirst: used), into: &bytes, at: 0)
            used += step.consumed
            if step.produced > 0 { try body(buffer.span.bytes.extracting(first: step.produced)) }
            // With room left there is nothing more to come of what was given.
            if used == input.count, step.produced < buffer.count { return }
        }
    }

    /// Says that the input has ended.
    ///
    /// - Throws: `.truncated` if the stream has not.
    package func finish() throws(CompressionFailure) {
        switch stream {
        case .none: return
        case .gzip(let gzip): try gzip.finish()
        case .zstd(let zstd): try zstd.finish()
        }
    }
}
