/// Random-access bytes that the reader reads, for example an image file.
package protocol ByteSource: Sendable {
    /// Replaces the content of `buffer` with the `count` bytes from `offset` on, or with fewer at the end of the source.
    func read(_ count: Int, at offset: UInt64, into buffer: inout [UInt8]) throws
}

/// Bytes that the writer writes and reads back: the image itself, or scratch space that is dropped afterwards.
///
/// Bytes that were never written read as zeros, as in a new file. The writer passes up to 256 KiB at once.
package protocol ByteStore: ByteSource {
    mutating func write(_ bytes: [UInt8], at offset: UInt64) throws
}

/// Bytes in memory. Pages that were never written take no memory.
package struct MemoryStore: ByteStore {
    private var pages = [UInt64: [UInt8]]()
    /// End of the bytes written.
    package private(set) var length: UInt64 = 0

    private static let pageSize = 1 << 16

    package init() {}

    package init(_ bytes: [UInt8]) { write(bytes, at: 0) }

    /// All bytes. Use this for small images only.
    package var bytes: [UInt8] {
        var all = [UInt8]()
        read(Int(length), at: 0, into: &all)
        return all
    }

    package mutating func write(_ bytes: [UInt8], at offset: UInt64) {
        var done = 0
        while done < bytes.count {
            let (page, start) = (offset + UInt64(done)).quotientAndRemainder(
                dividingBy: UInt64(Self.pageSize))
            let count = min(bytes.count - done, Self.pageSize - Int(start))
            pages[page, default: [UInt8](repeating: 0, count: Self.pageSize)]
                .replaceSubrange(Int(start)..<Int(start) + count, with: bytes[done..<done + count])
            done += count
        }
        length = max(length, offset + UInt64(bytes.count))
    }

    package func read(_ count: Int, at offset: UInt64, into buffer: inout [UInt8]) {
        buffer.removeAll(keepingCapacity: true)
        let available = offset < length ? Int(min(length - offset, UInt64(count))) : 0
        while buffer.count < available {
            let (page, start) = (offset + UInt64(buffer.count))
                .quotientAndRemainder(dividingBy: UInt64(Self.pageSize))
            let piece = min(available - buffer.count, Self.pageSize - Int(start))
            if let bytes = pages[page] {
                buffer += bytes[Int(start)..<Int(start) + piece]
            } else {
                buffer.append(contentsOf: repeatElement(0, count: piece))
            }
        }
    }
}

/// A store that is written in large pieces: appended bytes stay in a buffer, and bytes in the buffer can be changed
/// without a write to the store.
struct BufferedStore {
    private(set) var store: any ByteStore
    /// Offset of the first byte of the buffer.
    private var start: UInt64
    private var buffer = [UInt8]()
    /// End of the bytes that the store has.
    private var length: UInt64 = 0

    static let capacity = 256 << 10

    init(_ store: any ByteStore, at offset: UInt64 = 0) {
        self.store = store
        start = offset
    }

    /// Offset of the next byte that is appended.
    var end: UInt64 { start + UInt64(buffer.count) }

    mutating func append(_ bytes: ArraySlice<UInt8>) throws {
        var rest = bytes
        while !rest.isEmpty {
            let piece = rest.prefix(Self.capacity - buffer.count)
            buffer += piece
            rest = rest.dropFirst(piece.count)
            if buffer.count >= Self.capacity { try flush() }
        }
    }

    mutating func append(_ bytes: [UInt8]) throws { try append(bytes[...]) }

    /// Appends zeros. Many zeros become bytes of the store that are never written.
    mutating func appendZeros(_ count: UInt64) throws {
        guard count <= UInt64(Self.capacity) else { return try seek(to: end + count) }
        if count > UInt64(Self.capacity - buffer.count) { try flush() }
        buffer.append(contentsOf: repeatElement(0, count: Int(count)))
    }

    /// Appends zeros up to a multiple of `alignment`, a power of two.
    mutating func align(to alignment: UInt64) throws { try appendZeros(end.padding(to: alignment)) }

    /// Replaces bytes before `end`.
    mutating func write(_ bytes: [UInt8], at offset: UInt64) throws {
        if offset >= start {
            let first = Int(offset - start)
            buffer.replaceSubrange(first..<first + bytes.count, with: bytes)
        } else {
            if offset + UInt64(bytes.count) > start { try flush() }
            try store.write(bytes, at: offset)
        }
    }

    /// Replaces the content of `result` with bytes before `end`.
    mutating func read(_ count: Int, at offset: UInt64, into result: inout [UInt8]) throws {
        if offset >= start {
            let first = Int(offset - start)
            result.removeAll(keepingCapacity: true)
            result += buffer[first..<first + count]
        } else {
            try flush()
            try readStored(count, at: offset, into: &result)
        }
    }

    mutating func flush() throws {
        if !buffer.isEmpty {
            try store.write(buffer, at: start)
            length = max(length, end)
        }
        start = end
        buffer.removeAll(keepingCapacity: true)
    }

    /// Continues at another offset.
    mutating func seek(to offset: UInt64) throws {
        try flush()
        start = offset
    }

    /// Ends the store with zeros that were appended but not written.
    mutating func extend(to end: UInt64) throws {
        try flush()
        if length < end { try store.write([0], at: end - 1) }
    }

    /// Reads from the store, without what is still in the buffer.
    func readStored(_ count: Int, at offset: UInt64, into result: inout [UInt8]) throws {
        try store.read(count, at: offset, into: &result)
        // The end of a store may have been skipped instead of written.
        result.append(contentsOf: repeatElement(0, count: count - result.count))
    }
}

extension UInt64 {
    /// Bytes that are missing to a multiple of `alignment`, a power of two.
    func padding(to alignment: UInt64) -> UInt64 { (0 &- self) & (alignment - 1) }

    /// The next multiple of `alignment`, a power of two. The caller excludes an overflow.
    func aligned(to alignment: UInt64) -> UInt64 { self + padding(to: alignment) }
}
