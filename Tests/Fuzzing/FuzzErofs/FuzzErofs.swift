import CFuzzer
import Erofs
import Fuzzing
import TestSupport

/// The first byte selects what the rest is: an image, or the choices from which a tree is made.
///
/// - An image may be anything. Reading all of it must end, read no more than its size justifies, and fail with an
///   `ErofsError` only.
/// - A tree is written in both forms. The reader must show each as it was written, and the bytes must be the same twice.
@c(LLVMFuzzerTestOneInput) public func test(_ data: UnsafePointer<UInt8>?, _ size: Int) -> CInt {
    let bytes = Array(UnsafeBufferPointer(start: data, count: size))
    guard let first = bytes.first else { return 0 }
    if first == imageMark {
        read(Array(bytes.dropFirst()))
    } else {
        for form in [ErofsWriter.Form.tarBacked, .packed] { write(bytes, form) }
    }
    return 0
}

private let imageMark = UInt8(ascii: "I")
private let treeMark = UInt8(ascii: "T")

// MARK: Images

/// Counts what is read.
private final class CountingSource: ByteSource {
    private let store: MemoryStore
    /// One thread only.
    nonisolated(unsafe) private(set) var count = 0

    init(_ bytes: [UInt8]) { store = MemoryStore(bytes) }

    func read(_ count: Int, at offset: UInt64, into buffer: inout [UInt8]) {
        insist(count <= 1 << 20, "a read of \(count) bytes")
        store.read(count, at: offset, into: &buffer)
        self.count += buffer.count
    }
}

private func read(_ input: [UInt8]) {
    var bytes = input
    // A mutation would hardly ever keep the checksum.
    if bytes.count > 1032 { bytes[1032] &= ~1 }
    let source = CountingSource(bytes)
    do {
        let image = try ErofsImage(source, length: UInt64(bytes.count))
        var walk = ErofsImage.Walk(image, from: try image.root())
        var names = 0
        var buffer = [UInt8]()
        while let (name, node) = try walk.next() {
            names += 1
            insist(!name.isEmpty && name.count <= 255 && !name.contains(0), "the name \(name)")
            // An attribute, a target and a piece of data have no more bytes than the image.
            _ = try image.attributes(of: node)
            if node.kind == .symlink { _ = try image.target(of: node) }
            if node.kind == .regular {
                for position in [0, node.size / 2, node.size &- 1] where position < node.size {
                    try image.read(node, at: position, limit: 4096, into: &buffer)
                    insist(!buffer.isEmpty, "no data at \(position) of \(node.size)")
                }
            }
            if node.kind == .directory {
                let entries = try image.entries(of: node)
                if let last = entries.last {
                    insist(try image.lookUp(last.name[...], in: node) == last, "\(last.name) is not found")
                }
            }
        }
        insist(names <= bytes.count / 13, "\(names) names in \(bytes.count) bytes")
    } catch {
        insist(error is ErofsError && !"\(error)".isEmpty, "\(error)")
    }
}

// MARK: Trees

private func write(_ bytes: [UInt8], _ form: ErofsWriter.Form) {
    do {
        let images = try (0..<2).map { _ in
            var model = try ErofsModel(form, choices: bytes.dropFirst())
            let (store, summary) = try model.finish()
            let image = try ErofsImage(store, length: summary.length)
            let lines = try ErofsLines.of(image)
            insist(lines == model.lines, "\(form): \(lines)\nwritten:\n\(model.lines)")
            var bytes = [UInt8]()
            try store.read(Int(summary.length), at: 0, into: &bytes)
            return bytes
        }
        insist(images[0] == images[1], "\(form): two images of one tree differ")
    } catch {
        fatalError("\(form): \(error)")  // libFuzzer needs a trap
    }
}

// MARK: Seeds

@c(LLVMFuzzerInitialize) public func initialize(
    _ count: UnsafeMutablePointer<CInt>?,
    _ arguments: UnsafeMutablePointer<UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>?>?
) -> CInt {
    var seeds = [[UInt8]]()
    for seed in 1...20 as ClosedRange<UInt64> {
        let choices = [treeMark] + Bytes.noise(Int(seed) * 100, seed: seed).array
        seeds.append(choices)
        for form in [ErofsWriter.Form.tarBacked, .packed] {
            guard var model = try? ErofsModel(form, choices: choices.dropFirst()),
                let (store, summary) = try? model.finish()
            else {
                continue
            }
            var bytes = [UInt8]()
            try? store.read(Int(summary.length), at: 0, into: &bytes)
            seeds.append([imageMark] + bytes)
        }
    }
    writeSeeds(seeds)
    return 0
}
