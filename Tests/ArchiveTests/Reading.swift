import Archive
import Glibc
import Kernel
import Streams
import TestSupport

/// An entry with its data, as tests compare it.
struct ReadEntry {
    let entry: Entry
    let data: [UInt8]
    /// Ranges of the pieces of data; holes are not included.
    let pieces: [Range<Int64>]

    var path: String { entry.path.description }
    var metadata: Metadata { entry.metadata }

    func attribute(_ name: String) -> [UInt8]? {
        metadata.extendedAttributes.first { $0.name == AttributeName(literal: name) }?.value
    }

    /// The entry as one line: `d a/b`, `- f 3 abc`, `l x -> y`.
    var line: String {
        switch entry.content {
        case .regular(let size): "- \(path) \(size)" + (data.isEmpty ? "" : " \(escaped(data.prefix(20)))")
        case .directory: "d \(path)"
        case .symlink(let target): "l \(path) -> \(escaped(target))"
        case .hardLink(let target): "h \(path) -> \(target)"
        case .fifo: "p \(path)"
        case .character(let device): "c \(path) \(device.major):\(device.minor)"
        case .block(let device): "b \(path) \(device.major):\(device.minor)"
        }
    }
}

/// Reads a whole tar, passed in blocks of a given size.
///
/// - Parameter keepsData: whether data is collected; false for holes that may be larger than memory.
func read(_ tar: [UInt8], blockSize: Int = 1 << 20, keepsData: Bool = true) throws -> [ReadEntry] {
    let ring = BlockRing(readers: 1, blockSize: blockSize, blockCount: tar.count / blockSize + 1)
    for start in stride(from: 0, to: tar.count, by: blockSize) {
        _ = ring.produce { block in
            let piece = tar[start..<min(start + blockSize, tar.count)]
            block.withUnsafeMutableBytes { $0.copyBytes(from: piece) }
            return piece.count
        }
    }
    ring.finish()
    var reader = try LayerReader(ring, reader: 0)
    var entries = [ReadEntry]()
    // An error that the thread met before must not be taken for one of the archive.
    errno = ENOMEM
    while let entry = try reader.next() {
        var data = [UInt8]()
        var pieces = [Range<Int64>]()
        while try reader.nextData({ (offset: Int64, bytes: RawSpan) throws(SyscallFailure) in
            if !keepsData { return }
            data += [UInt8](repeating: 0, count: Int(offset) - data.count)
            bytes.withUnsafeBytes { data += $0 }
            pieces.append(offset..<Int64(data.count))
        }) {}
        if keepsData, case .regular(let size) = entry.content {
            data += [UInt8](repeating: 0, count: Int(size) - data.count)
        }
        entries.append(ReadEntry(entry: entry, data: data, pieces: pieces))
        errno = ENOMEM
    }
    try reader.finish()
    return entries
}

func read(_ entries: TarEntry...) throws -> [ReadEntry] { try read(LayerBuilder(entries).tar) }
