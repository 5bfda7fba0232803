internal import Erofs
package import Kernel

/// An open file that an image is written to, from several threads at different offsets.
package final class FileStore: ByteStore {
    private let file: File

    package init(_ file: consuming File) { self.file = file }

    package func write(_ bytes: [UInt8], at offset: UInt64) throws {
        try bytes.withRawSpan { bytes throws(SyscallFailure) in try file.write(bytes, at: Int64(offset)) }
    }

    package func write(_ bytes: RawSpan, at offset: Int64) throws { try file.write(bytes, at: offset) }

    package func read(_ count: Int, at offset: UInt64, into buffer: inout [UInt8]) throws {
        try file.read(into: &buffer, limit: count, at: Int64(offset))
        var piece = [UInt8]()
        // A signal may end a read early (pread(2)).
        while buffer.count < count {
            try file.read(into: &piece, limit: count - buffer.count, at: Int64(offset) + Int64(buffer.count))
            if piece.isEmpty { return }
            buffer += piece
        }
    }

    package func reopened() throws(SyscallFailure) -> File { try file.duplicated() }

    package func truncate() throws { try file.truncate(to: 0) }
}

/// Scratch space in memory, and in an unnamed file above a size. One thread uses it at a time.
package final class SpillingStore: ByteStore, @unchecked Sendable {
    /// Bytes in memory at most: those of a layer of some thousand files.
    private static let maximumMemory: UInt64 = 1 << 20

    private let directory: Directory
    private var memory = MemoryStore()
    private var file: FileStore?

    /// - Parameter directory: on whose file system the unnamed file is created.
    package init(in directory: Directory) { self.directory = directory }

    package func write(_ bytes: [UInt8], at offset: UInt64) throws {
        if file == nil, offset + UInt64(bytes.count) > Self.maximumMemory {
            let store = FileStore(try File.temporary(in: directory))
            try store.write(memory.bytes, at: 0)
            file = store
            memory = MemoryStore()
        }
        if let file { try file.write(bytes, at: offset) } else { memory.write(bytes, at: offset) }
    }

    package func read(_ count: Int, at offset: UInt64, into buffer: inout [UInt8]) throws {
        if let file {
            try file.read(count, at: offset, into: &buffer)
        } else {
            memory.read(count, at: offset, into: &buffer)
        }
    }
}
