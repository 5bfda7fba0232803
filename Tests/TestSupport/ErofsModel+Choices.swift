package import Erofs

extension ErofsModel {
    /// A tree that is made by changes in the order of `choices`.
    package init(_ form: ErofsWriter.Form, choices: ArraySlice<UInt8>) throws {
        var choices = Choices(rest: choices)
        try self.init(form, root: choices.metadata(of: .directory))
        while !choices.isEmpty { try change(&choices) }
    }

    private mutating func change(_ choices: inout Choices) throws {
        let name = choices.name()
        let parents = directories.indices.filter { isReachable($0) }
        let parent = parents[choices.byte() % parents.count]
        var isDirectory = false
        if case .directory = directories[parent].children[name.array] { isDirectory = true }
        let action = choices.byte() % 10
        if isDirectory, action != 8 { return }
        switch action {
        case 0: try makeDirectory(name, choices.metadata(of: .directory), in: parent)
        case 1: try describe(parent, choices.metadata(of: .directory))
        case 2: try addSymlink(name, to: choices.target(), choices.metadata(of: .symlink), in: parent)
        case 3:
            let device = ImageDevice(
                major: UInt32(choices.below(4096)), minor: UInt32(choices.below(65_536)) * 16)
            try addSpecial(name, .blockDevice, device, choices.metadata(of: .blockDevice), in: parent)
        case 4:
            let kind: FileKind = choices.byte() % 2 == 0 ? .fifo : .socket
            try addSpecial(name, kind, nil, choices.metadata(of: kind), in: parent)
        case 5 where !files.isEmpty: try link(choices.below(files.count), as: name, in: parent)
        case 6 where !files.isEmpty:
            let file = choices.below(files.count)
            try setMetadata(of: file, choices.metadata(of: files[file].kind))
        case 7:
            let content = choices.bytes(10_000)
            try addRegular(
                name, content, inTar: choices.byte() % 2 == 0, choices.metadata(of: .regular), in: parent)
        case 8 where directories[parent].children[name.array] != nil: try remove(name, in: parent)
        default: try addSparse(name, in: parent, &choices)
        }
    }

    private mutating func addSparse(_ name: Bytes, in parent: Int, _ choices: inout Choices) throws {
        let unit = [1, 512, 4096][choices.byte() % 3]
        var pieces = [(offset: UInt64, bytes: [UInt8])]()
        var end = 0
        for _ in 0..<(choices.byte() % 5) {
            let offset = (end + choices.below(40_000)) / unit * unit
            guard offset >= end else { continue }
            let count = unit == 1 ? choices.below(9000) : choices.below(4) * unit
            if count == 0 { continue }
            let byte = UInt8(truncatingIfNeeded: choices.byte())
            pieces.append((UInt64(offset), [UInt8](repeating: byte, count: count)))
            end = offset + count
        }
        let size = UInt64(end + choices.below(20_000))
        try addRegular(
            name, size: size, pieces: pieces, inTar: choices.byte() % 2 == 0, choices.metadata(of: .regular),
            in: parent)
    }

    /// user::rwx, user:1000:r-x, group::r-x, mask::r-x, other::--- (linux/posix_acl_xattr.h).
    package static let accessList: [UInt8] =
        [2, 0, 0, 0]
        + [
            (1, 7, UInt32.max), (2, 5, 1000), (4, 5, UInt32.max), (16, 5, UInt32.max), (32, 0, UInt32.max),
        ]
        .flatMap { (tag: UInt8, permissions: UInt8, id: UInt32) -> [UInt8] in
            [tag, 0, permissions, 0] + (0..<4).map { UInt8(truncatingIfNeeded: id >> UInt32(8 * $0)) }
        }
}

/// Choices from bytes; zeros after their end.
private struct Choices {
    var rest: ArraySlice<UInt8>

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

    mutating func name() -> Bytes {
        let name = bytes(byte() == 0 ? 200 : 3).map { [0, UInt8(ascii: "/")].contains($0) ? 0x2D : $0 }
        let isInvalid = name.isEmpty || name == [0x2E] || name == [0x2E, 0x2E]
        return Bytes(isInvalid ? [UInt8(ascii: "n")] : name)
    }

    mutating func target() -> Bytes {
        let target = bytes(byte() == 0 ? 4096 : 600).map { $0 == 0 ? 1 : $0 }
        return Bytes(target.isEmpty ? [1] : target)
    }

    /// Metadata that the kernel shows for a file of the kind: it does not return `user.*` of symlinks and special files.
    mutating func metadata(of kind: FileKind) -> InodeMetadata {
        var metadata = InodeMetadata(
            mode: UInt16(below(0o10000)), uid: UInt32(byte()) &* 0x0101_0101, gid: UInt32(byte()),
            seconds: byte() == 0
                ? (0..<8).reduce(0) { value, _ in value << 8 | Int64(byte()) } : Int64(byte()) - 100,
            nanoseconds: UInt32(below(65_536)) * 15_258)
        let hasUser = kind == .regular || kind == .directory
        let prefixes = ["trusted.", "security.", hasUser ? "user." : "trusted."]
        var names = Set<[UInt8]>()
        for _ in 0..<(byte() % 4) {
            let name = Array(prefixes[byte() % 3].utf8) + name().array
            let value = bytes(byte() == 0 ? 5000 : 40)
            if names.insert(name).inserted {
                metadata.attributes.append(InodeAttribute(name: name, value: value))
            }
        }
        if byte() % 8 == 1, kind != .symlink {
            metadata.attributes.append(
                InodeAttribute(name: Array("system.posix_acl_access".utf8), value: ErofsModel.accessList))
        }
        return metadata
    }
}
