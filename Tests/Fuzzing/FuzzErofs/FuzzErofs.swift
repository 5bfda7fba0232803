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

/// Choices from the input; zeros after its end.
private struct Choices: RandomNumberGenerator {
    private var rest: ArraySlice<UInt8>

    init(_ bytes: [UInt8]) { rest = bytes.dropFirst() }

    var isEmpty: Bool { rest.isEmpty }

    mutating func byte() -> Int { Int(rest.popFirst() ?? 0) }

    mutating func below(_ bound: Int) -> Int { (byte() << 8 | byte()) % bound }

    mutating func bytes(_ limit: Int) -> [UInt8] {
        let count = below(limit)
        let taken = Array(rest.prefix(min(count, 16)))
        rest = rest.dropFirst(taken.count)
        return (0..<count).map {
            taken.isEmpty ? 1 : taken[$0 % taken.count] &+ UInt8($0 / taken.count & 0xFF)
        }
    }

    mutating func next() -> UInt64 { (0..<8).reduce(0) { value, _ in value << 8 | UInt64(byte()) } }

    mutating func name() -> Bytes {
        let length = byte() == 0 ? 200 : 3
        let name = bytes(length).map { [0, UInt8(ascii: "/")].contains($0) ? 0x2D : $0 }
        let isInvalid = name.isEmpty || name == [0x2E] || name == [0x2E, 0x2E]
        return Bytes(isInvalid ? [UInt8(ascii: "n")] : name)
    }

    mutating func metadata() -> InodeMetadata {
        var metadata = InodeMetadata(
            mode: UInt16(below(0o10000)), uid: UInt32(truncatingIfNeeded: byte() &* 0x0101_0101),
            gid: UInt32(byte()), seconds: byte() == 0 ? Int64(bitPattern: next()) : Int64(byte()) - 100,
            nanoseconds: UInt32(below(65_536)) * 15_258)
        let prefixes = ["user.", "trusted.", "security."]
        var names = Set<[UInt8]>()
        for _ in 0..<(byte() % 4) {
            let name = Array(prefixes[byte() % 3].utf8) + name().array
            let value = bytes(byte() == 0 ? 5000 : 40)
            if names.insert(name).inserted {
                metadata.attributes.append(InodeAttribute(name: name, value: value))
            }
        }
        if byte() % 8 == 1 {
            metadata.attributes.append(
                InodeAttribute(name: Array("system.posix_acl_access".utf8), value: bytes(100)))
        }
        return metadata
    }
}

private func write(_ bytes: [UInt8], _ form: ErofsWriter.Form) {
    do {
        let images = try (0..<2).map { _ in
            var model = try make(bytes, form)
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

/// Applies the changes that the input describes.
private func make(_ bytes: [UInt8], _ form: ErofsWriter.Form) throws -> ErofsModel {
    var choices = Choices(bytes)
    var model = try ErofsModel(form, root: choices.metadata())
    while !choices.isEmpty {
        let name = choices.name()
        let parents = model.directories.indices.filter { model.isReachable($0) }
        let parent = parents[choices.byte() % parents.count]
        var isDirectory = false
        if case .directory = model.directories[parent].children[name.array] { isDirectory = true }
        let action = choices.byte() % 10
        if isDirectory, action != 8 { continue }
        switch action {
        case 0: try model.makeDirectory(name, choices.metadata(), in: parent)
        case 1: try model.describe(parent, choices.metadata())
        case 2: try model.addSymlink(name, to: target(&choices), choices.metadata(), in: parent)
        case 3:
            let device = ImageDevice(
                major: UInt32(choices.below(4096)), minor: UInt32(choices.below(65_536)) * 16)
            try model.addSpecial(name, .blockDevice, device, choices.metadata(), in: parent)
        case 4:
            try model.addSpecial(
                name, choices.byte() % 2 == 0 ? .fifo : .socket, nil, choices.metadata(), in: parent)
        case 5 where !model.files.isEmpty:
            try model.link(choices.below(model.files.count), as: name, in: parent)
        case 6 where !model.files.isEmpty:
            try model.setMetadata(of: choices.below(model.files.count), choices.metadata())
        case 7:
            let content = choices.bytes(10_000)
            try model.addRegular(
                name, content, inTar: choices.byte() % 2 == 0, choices.metadata(), in: parent)
        case 8 where model.directories[parent].children[name.array] != nil: try model.remove(name, in: parent)
        default: try addSparse(name, in: parent, &choices, to: &model)
        }
    }
    return model
}

private func target(_ choices: inout Choices) -> Bytes {
    let target = choices.bytes(choices.byte() == 0 ? 4096 : 600).map { $0 == 0 ? 1 : $0 }
    return Bytes(target.isEmpty ? [1] : target)
}

private func addSparse(
    _ name: Bytes, in parent: Int, _ choices: inout Choices, to model: inout ErofsModel
) throws {
    let unit = [1, 512, 4096][choices.byte() % 3]
    var pieces = [(offset: UInt64, bytes: [UInt8])]()
    var end = 0
    for _ in 0..<(choices.byte() % 5) {
        let offset = end + choices.below(40_000) / unit * unit
        let count = unit == 1 ? choices.below(9000) : choices.below(4) * unit
        let bytes = [UInt8](repeating: UInt8(truncatingIfNeeded: choices.byte()), count: count)
        if bytes.isEmpty { continue }
        pieces.append((UInt64(offset), bytes))
        end = offset + count
    }
    let size = end + choices.below(20_000)
    try model.addRegular(
        name, size: UInt64(size), pieces: pieces, inTar: choices.byte() % 2 == 0, choices.metadata(),
        in: parent)
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
            guard var model = try? make(choices, form), let (store, summary) = try? model.finish() else {
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
