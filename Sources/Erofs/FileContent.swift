/// A contiguous part of a file in the data area. The rest of the file is holes.
struct Extent: Equatable {
    /// Range in the file; begins at a multiple of the block size, and ends at one or at the end of the file.
    var start: UInt64
    var end: UInt64
    /// Offset in the data area, a multiple of the block size.
    var location: UInt64
}

/// A piece of a file's data in the tar of a layer.
package struct TarSegment: Hashable, Sendable {
    /// Offset in the file.
    package let offset: UInt64
    /// Offset in the tar.
    package let tarOffset: UInt64
    package let length: UInt64

    package init(offset: UInt64, tarOffset: UInt64, length: UInt64) {
        self.offset = offset
        self.tarOffset = tarOffset
        self.length = length
    }
}

/// Where the data of the next regular file is.
struct FileContent {
    let size: UInt64
    /// Whether `extents` are in the tar, so that their locations are final.
    let isInTar: Bool
    /// Parts that are complete.
    var extents = [Extent]()
    /// The part that data is appended to; its `end` is the end of the data so far. Contiguous data of the tar is one, so
    /// that an ordinary file needs no array.
    var open: Extent?

    /// End of the data so far.
    var end: UInt64 { open?.end ?? extents.last?.end ?? 0 }

    /// Largest end of a part in the data area.
    var locationEnd: UInt64 {
        let ends = extents.lazy.map { $0.location + ($0.end - $0.start) }
        return max(open.map { $0.location + ($0.end - $0.start) } ?? 0, ends.max() ?? 0)
    }

    /// Size to which the parts of a file with holes are padded.
    ///
    /// A file with holes is divided into chunks of one size, and its inode contains an address for each. Small chunks
    /// need a large index, and large ones much padding. At this size an index takes as much as one chunk. The writer does
    /// not know the holes in advance, so the size depends on that of the file only.
    var granule: UInt64 {
        var granule: UInt64 = 4096
        // 4 · size / granule ≤ granule, and at most `Chunks.maximumCount`.
        while granule < 1 << 62, size / granule > granule / 4 || size / granule >= UInt64(Chunks.maximumCount)
        {
            granule <<= 1
        }
        return granule
    }

    /// The tar's segments as a file's content, if each begins and ends at a block's boundary; nil otherwise. The end of
    /// the file needs no boundary.
    ///
    /// - Parameter segments: in the order of their offsets in the file; empty ones are ignored.
    init?(size: UInt64, tar segments: [TarSegment], blockSize: UInt64) {
        self.size = size
        isInTar = true
        for segment in segments where segment.length > 0 {
            let (end, overflow) = segment.offset.addingReportingOverflow(segment.length)
            guard !overflow, segment.offset >= self.end, end <= size,
                segment.offset % blockSize == 0, segment.tarOffset % blockSize == 0,
                end % blockSize == 0 || end == size, segment.tarOffset <= UInt64(Int64.max) - segment.length
            else { return nil }
            let location = Format.headerSize + segment.tarOffset
            if let last = extents.last, last.end == segment.offset,
                last.location + (last.end - last.start) == location
            {
                extents[extents.count - 1].end = end
            } else {
                extents.append(Extent(start: segment.offset, end: end, location: location))
            }
        }
        let isContiguous = extents.count == 1 && extents[0].start == 0 && extents[0].end == size
        if size > 0, !isContiguous {
            guard Chunks(extents, size: size, blockSize: blockSize) != nil else { return nil }
        }
    }

    /// Contiguous data of the tar; nil if it does not begin at a block's boundary.
    init?(size: UInt64, tarOffset: UInt64, blockSize: UInt64) {
        guard tarOffset % blockSize == 0, tarOffset <= UInt64(Int64.max) - size else { return nil }
        self.size = size
        isInTar = true
        open = size > 0 ? Extent(start: 0, end: size, location: Format.headerSize + tarOffset) : nil
    }

    /// A file of which data is appended.
    init(size: UInt64) {
        self.size = size
        isInTar = false
    }
}

/// The chunks of a file with holes.
struct Chunks {
    /// Limits an inode to 16 MiB.
    static let maximumCount = 1 << 22

    /// Chunk size as a power of two times the block size.
    let bits: UInt16
    /// Block of each chunk; `Format.noBlock` for a hole.
    let blocks: [UInt32]

    /// Nil if the file needs too many chunks, or a block's number is too large.
    init?(_ extents: [Extent], size: UInt64, blockSize: UInt64) {
        // Chunks are as large as the boundaries between data and holes permit.
        var boundaries: UInt64 = 0
        for extent in extents { boundaries |= extent.start | (extent.end == size ? 0 : extent.end) }
        var bits: UInt16 = 0
        while bits < 31, boundaries & (blockSize << UInt64(bits)) == 0, blockSize << UInt64(bits) < size {
            bits += 1
        }
        let chunkSize = blockSize << UInt64(bits)
        let count = (size - 1) / chunkSize + 1
        guard count <= UInt64(Self.maximumCount) else { return nil }
        var blocks = [UInt32](repeating: Format.noBlock, count: Int(count))
        for extent in extents {
            for chunk in extent.start / chunkSize...(extent.end - 1) / chunkSize {
                let block = (extent.location + (chunk * chunkSize - extent.start)) / blockSize
                guard block < UInt64(Format.noBlock) else { return nil }
                blocks[Int(chunk)] = UInt32(block)
            }
        }
        self.bits = bits
        self.blocks = blocks
    }
}
