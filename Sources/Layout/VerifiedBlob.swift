internal import Kernel
package import OCI
internal import Streams

/// A blob that is hashed while it is read: its bytes are untrusted until `finish` succeeds.
package struct VerifiedBlob: ~Copyable {
    private let descriptor: Descriptor
    private let source: Source
    private var digester: Digester

    enum Source: ~Copyable {
        case file(File)
        case memory([UInt8])
        case member(ImageArchive, Range<Int64>)
        case stream(any BlobStream)
    }

    init(_ descriptor: Descriptor, from source: consuming Source) {
        self.descriptor = descriptor
        self.source = source
        digester = Digester(descriptor.digest.algorithm)
    }

    /// Creates a blob whose bytes another process provides.
    package init(_ descriptor: Descriptor, from stream: any BlobStream) {
        self.init(descriptor, from: .stream(stream))
    }

    /// Number of bytes read so far.
    package var position: Int64 { digester.count }

    /// Replaces the buffer's content with the next bytes; empty at the end. The first read returns enough bytes to
    /// detect the format.
    ///
    /// - Throws: `.wrongSize` if there are more bytes than the descriptor declares, `.system`, and the errors of the
    ///   stream.
    package mutating func read(into buffer: inout [UInt8], limit: Int) throws(LayoutFailure) {
        switch source {
        case .file(let file):
            do {
                try file.read(into: &buffer, limit: limit)
            } catch {
                throw .system(error)
            }
        case .memory(let bytes): buffer = Array(bytes[Int(position)...].prefix(limit))
        case .member(let archive, let range):
            try archive.read(into: &buffer, limit: limit, at: range.lowerBound + position, of: range)
        case .stream(let stream): try Self.fill(&buffer, limit: limit, at: position, from: stream)
        }
        digester.update(buffer)
        try checkSize()
    }

    /// Size of a tar's first block, which the format is detected from.
    private static let leastStart = 512

    /// Reads from a stream; one read may return only a few bytes.
    private static func fill(
        _ buffer: inout [UInt8], limit: Int, at position: Int64, from stream: any BlobStream
    ) throws(LayoutFailure) {
        try stream.read(into: &buffer, limit: limit, at: position)
        var more = [UInt8]()
        while position == 0, !buffer.isEmpty, buffer.count < min(limit, leastStart) {
            try stream.read(into: &more, limit: limit - buffer.count, at: Int64(buffer.count))
            if more.isEmpty { return }
            buffer += more
        }
    }

    private func checkSize() throws(LayoutFailure) {
        if digester.count > descriptor.size {
            throw .wrongSize(descriptor.digest, expected: descriptor.size, found: digester.count)
        }
    }

    /// Reads the rest of the blob and verifies its size and digest.
    ///
    /// - Throws: `.wrongSize`, `.wrongDigest`, `.system`, and the errors of the stream.
    package consuming func finish() throws(LayoutFailure) {
        var rest = [UInt8]()
        repeat { try read(into: &rest, limit: 1 << 18) } while !rest.isEmpty
        guard digester.count == descriptor.size else {
            throw .wrongSize(descriptor.digest, expected: descriptor.size, found: digester.count)
        }
        let found = digester.finish()
        guard found == descriptor.digest else {
            throw .wrongDigest(expected: descriptor.digest, found: found)
        }
    }
}
