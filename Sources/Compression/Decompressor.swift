/// The compression format of a blob, detected by its first bytes because media types are often wrong.
package enum CompressionFormat: String, Sendable {
    case none, gzip, zstd

    /// - Parameter start: the first 512 bytes of the blob, or all of a shorter one.
    /// - Throws: `CompressionFailure.unknownFormat` if the format is unknown or not supported.
    package init(sniffing start: RawSpan) throws(CompressionFailure) {
        func starts(with magic: [UInt8]) -> Bool {
            start.byteCount >= magic.count
                && magic.indices.allSatisfy {
                    start.unsafeLoadUnaligned(fromByteOffset: $0, as: UInt8.self) == magic[$0]
                }
        }
        // A skippable frame may come first (RFC 8878, section 3.1.2): 0x184D2A50 to 0x184D2A5F, little-endian.
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

/// Whether the first block is a tar header with a valid checksum (of any tar format) or a block of zeros (pax(1),
/// "ustar Format").
private func isTar(_ start: RawSpan) -> Bool {
    guard start.byteCount >= 512 else { return false }
    var sum = 0
    // Some old tar programs computed the checksum with signed bytes.
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

/// A corrupt or unsupported compressed stream. Offsets are in bytes of the compressed blob.
package enum CompressionFailure: Error, Equatable, Sendable, CustomStringConvertible {
    /// The value is the name of a format that is recognized but not supported; nil if none is recognized.
    case unknownFormat(String?)
    case corrupt(format: CompressionFormat, reason: String, offset: Int64)
    case truncated(format: CompressionFormat, offset: Int64)
    case trailingGarbage(format: CompressionFormat, offset: Int64)
    case outOfMemory
    /// Decompression needs a larger window than this limit in bytes (RFC 8878, section 3.1.1.1.2).
    case windowTooLarge(limit: Int)

    package var description: String {
        switch self {
        case .unknownFormat(let name?):
            "it is compressed with \(name); gzip, zstd and plain tar are supported"
        case .unknownFormat(nil): "it is neither gzip nor zstd nor tar"
        case .corrupt(let format, let reason, let offset):
            "corrupt \(format.rawValue) stream at byte \(offset) of the blob: \(reason)"
        case .truncated(let format, let offset):
            "the \(format.rawValue) stream ends too early, at byte \(offset) of the blob"
        case .trailingGarbage(let format, let offset):
            "garbage after the \(format.rawValue) stream at byte \(offset) of the blob"
        case .outOfMemory: "not enough memory for the compression library"
        case .windowTooLarge(let limit):
            "the zstd stream needs a window of more than \(limit >> 20) MiB (--long of zstd(1))"
        }
    }
}

/// A streaming decompressor for one blob.
package struct Decompressor: ~Copyable {
    private enum Stream: ~Copyable {
        case none
        case gzip(GzipStream)
        case zstd(ZstdStream)
    }

    /// Bytes consumed and produced by one step.
    package struct Step: Sendable {
        package let consumed: Int
        package let produced: Int
    }

    private var stream: Stream

    /// The window limit of zstd(1) without `--long`, in bytes.
    package static let defaultMaximumWindow = 1 << 27

    /// - Parameter maximumWindow: maximum window size of a zstd stream in bytes, a power of two; gzip always needs 32
    ///   KiB.
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

    /// Decompresses as much input as fits into the output after `position`. `produced` may be 0 while input remains.
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

    /// Decompresses all of the input and passes each piece of output to `body`.
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
            // If the buffer was not filled, no more output is pending.
            if used == input.count, step.produced < buffer.count { return }
        }
    }

    /// Reports the end of the input.
    ///
    /// - Throws: `.truncated` if the stream has not ended.
    package func finish() throws(CompressionFailure) {
        switch stream {
        case .none: return
        case .gzip(let gzip): try gzip.finish()
        case .zstd(let zstd): try zstd.finish()
        }
    }
}
