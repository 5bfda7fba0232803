internal import Compression
internal import Kernel

/// One path of a tree as a line of mtree(5): the path and its keywords, each with a value.
struct TreeLine {
    /// In the order in which they are written. Values are printable ASCII without white space.
    private(set) var keywords = [(name: [UInt8], value: [UInt8])]()

    private mutating func add(_ name: String, _ value: [UInt8]) {
        keywords.append((Array(name.utf8), value))
    }

    private mutating func add(_ name: String, _ text: String) { add(name, Array(text.utf8)) }

    /// A later name of a file that has several: everything else stands where its first name does.
    ///
    /// - Parameter first: escaped. mtree(5) has no keyword for it; this one is the program's own.
    init(linkTo first: [UInt8], _ status: FileStatus) {
        add("type", Self.type(of: status))
        add("hardlink", first)
    }

    /// Reads all that is recorded of a path.
    ///
    /// - Parameter known: a regular file's checksum, where somebody has it already.
    /// - Throws: `SyscallFailure`, and what `check` throws.
    init(
        _ entry: TreeWalk.Entry, buffer: ReadBuffer, known: (FileStatus) -> UInt32?, check: () throws -> Void
    ) throws {
        let status = entry.status
        addStatus(status)
        guard let name = entry.name, entry.directory == nil else {
            if let directory = entry.directory { try addAttributes(of: directory.file) }
            return
        }
        switch status.kind {
        case .regular:
            add("size", "\(status.size)")
            if let checksum = known(status) {
                add("cksum", "\(checksum)")
            } else {
                let file = try entry.parent.openFile(name)
                add("cksum", "\(try Self.checksum(of: file, status, buffer, check))")
                try addAttributes(of: file)
                return
            }
        case .symlink:
            var target = [UInt8]()
            Self.escape(try entry.parent.readLink(name), onto: &target)
            add("link", target)
        case .character(let device), .block(let device):
            add("device", "linux,\(device.major),\(device.minor)")
        case .directory, .fifo, .socket: break
        }
        for attribute in try entry.parent.extendedAttributeNames(of: name).sorted() {
            add(attribute, try entry.parent.extendedAttribute(attribute, of: name))
        }
    }

    static func type(of status: FileStatus) -> String {
        switch status.kind {
        case .regular: "file"
        case .directory: "dir"
        case .symlink: "link"
        case .fifo: "fifo"
        case .socket: "socket"
        case .character: "char"
        case .block: "block"
        }
    }

    private mutating func addStatus(_ status: FileStatus) {
        add("type", Self.type(of: status))
        let mode = String(status.mode, radix: 8)
        add("mode", String(repeating: "0", count: max(0, 4 - mode.count)) + mode)
        add("uid", "\(status.uid)")
        add("gid", "\(status.gid)")
        let fraction = String(status.modificationTime.nanoseconds)
        let zeros = String(repeating: "0", count: 9 - fraction.count)
        add("time", "\(status.modificationTime.seconds).\(zeros)\(fraction)")
    }

    private mutating func addAttributes(of file: borrowing File) throws(SyscallFailure) {
        for attribute in try file.extendedAttributeNames().sorted() {
            add(attribute, try file.extendedAttribute(attribute))
        }
    }

    /// As go-mtree writes them. The host's label belongs to where a file lies and not to it.
    private mutating func add(_ attribute: AttributeName, _ value: [UInt8]?) {
        guard let value, attribute != .selinux else { return }
        var name = Array("xattr.".utf8)
        Self.escape(attribute.bytes, onto: &name)
        keywords.append((name, Self.base64(value)))
    }

    /// Of as many bytes as the status says. Holes are not read.
    private static func checksum(
        of file: borrowing File, _ status: FileStatus, _ buffer: ReadBuffer, _ check: () throws -> Void
    ) throws -> UInt32 {
        var checksum = Checksum()
        var position: Int64 = 0
        let mayHaveHoles = status.blocks * FileStatus.blockSize < status.size
        while position < status.size {
            let end = status.size..<status.size
            let data = mayHaveHoles ? try file.data(from: position) ?? end : position..<status.size
            let start = min(data.lowerBound, status.size)
            checksum.update(zeros: start - position)
            position = start
            while position < min(data.upperBound, status.size) {
                try check()
                let count = try file.read(at: position, with: buffer) { bytes in
                    checksum.update(bytes)
                    return Int64(bytes.byteCount)
                }
                // It has got shorter.
                if count == 0 { return checksum.finish() }
                position += count
            }
        }
        return checksum.finish()
    }

    // MARK: Text

    func write(path: [UInt8], onto output: inout [UInt8]) {
        output += path
        for (name, value) in keywords {
            output.append(UInt8(ascii: " "))
            output += name
            output.append(UInt8(ascii: "="))
            output += value
        }
        output.append(UInt8(ascii: "\n"))
    }

    /// Nil unless it is what `write` makes, without the path and the end of the line.
    init?(parsing text: ArraySlice<UInt8>) {
        var names = Set<[UInt8]>()
        for field in text.split(separator: UInt8(ascii: " "), omittingEmptySubsequences: false) {
            guard let equals = field.firstIndex(of: UInt8(ascii: "=")), equals > field.startIndex,
                field.allSatisfy({ (0x21...0x7E).contains($0) })
            else { return nil }
            let name = Array(field[..<equals])
            guard names.insert(name).inserted else { return nil }
            keywords.append((name, Array(field[(equals + 1)...])))
        }
        guard keywords.first?.name == Array("type".utf8) else { return nil }
    }

    subscript(_ name: String) -> [UInt8]? { keywords.first { $0.name.elementsEqual(name.utf8) }?.value }

    /// What this line says and another one says otherwise or not at all, or what only the other one says.
    func differences(
        to other: TreeLine
    ) -> [(name: [UInt8], expected: [UInt8]?, found: [UInt8]?)] {
        if keywords.elementsEqual(other.keywords, by: ==) { return [] }
        let own = Dictionary(keywords.map { ($0.name, $0.value) }) { first, _ in first }
        let others = Dictionary(other.keywords.map { ($0.name, $0.value) }) { first, _ in first }
        return keywords.filter { others[$0.name] != $0.value }.map { ($0.name, $0.value, others[$0.name]) }
            + other.keywords.filter { own[$0.name] == nil }.map { ($0.name, nil, $0.value) }
    }

    /// Bytes as mtree(5) takes them, unprintable ones and those that mean something in it as `\ooo` (vis(3), VIS_OCTAL,
    /// VIS_WHITE and VIS_GLOB).
    static func escape(_ bytes: some Collection<UInt8>, onto output: inout [UInt8]) {
        for byte in bytes {
            switch byte {
            case UInt8(ascii: "\\"), UInt8(ascii: "#"), UInt8(ascii: "*"), UInt8(ascii: "?"),
                UInt8(ascii: "["), UInt8(ascii: "="), 0...0x20, 0x7F...:
                output.append(UInt8(ascii: "\\"))
                for shift in [6, 3, 0] as [UInt8] { output.append(UInt8(ascii: "0") + (byte >> shift) & 7) }
            default: output.append(byte)
            }
        }
    }

    /// Nil unless it is what `escape` makes.
    static func unescaped(_ text: some Collection<UInt8>) -> [UInt8]? {
        var bytes = [UInt8]()
        var rest = text[...]
        while let first = rest.popFirst() {
            guard first == UInt8(ascii: "\\") else {
                bytes.append(first)
                continue
            }
            let digits = rest.prefix(3).map { $0 &- UInt8(ascii: "0") }
            guard digits.count == 3, digits.allSatisfy({ $0 < 8 }), digits[0] < 4 else { return nil }
            bytes.append(digits[0] << 6 | digits[1] << 3 | digits[2])
            rest = rest.dropFirst(3)
        }
        var again = [UInt8]()
        escape(bytes, onto: &again)
        return again.elementsEqual(text) ? bytes : nil
    }

    private static let base64Letters = Array(
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/".utf8)

    /// RFC 4648 §4, padded.
    private static func base64(_ bytes: [UInt8]) -> [UInt8] {
        var text = [UInt8]()
        var index = 0
        while index < bytes.count {
            let group = bytes[index..<min(index + 3, bytes.count)]
            let bits = group.reduce(UInt32(0)) { $0 << 8 | UInt32($1) } << UInt32(8 * (3 - group.count))
            for digit in 0..<4 {
                let value = Int(bits >> UInt32(18 - 6 * digit)) & 63
                text.append(digit <= group.count ? base64Letters[value] : UInt8(ascii: "="))
            }
            index += 3
        }
        return text
    }
}
