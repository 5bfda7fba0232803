internal import Compression
internal import FoundationEssentials
internal import Kernel
internal import Streams

/// A line of mtree(5) without its path: keywords, each with a value.
struct TreeLine {
    /// ` name=value` for each keyword; values are printable ASCII without white space.
    private var text = [UInt8]()

    private mutating func begin(_ name: String) {
        text.append(UInt8(ascii: " "))
        text += name.utf8
        text.append(UInt8(ascii: "="))
    }

    private mutating func add(_ name: String, _ value: some Sequence<UInt8>) {
        begin(name)
        text += value
    }

    /// - Parameter digits: the minimum number of digits.
    private mutating func add(
        _ name: String, _ number: some BinaryInteger, radix: Int = 10, digits: Int = 1
    ) {
        begin(name)
        append(number, radix: radix, digits: digits)
    }

    private mutating func append(_ number: some BinaryInteger, radix: Int = 10, digits: Int = 1) {
        if number < 0 { text.append(UInt8(ascii: "-")) }
        let start = text.count
        var rest = UInt64(number.magnitude)
        while rest > 0 || text.count < start + digits {
            text.append(UInt8(ascii: "0") + UInt8(rest % UInt64(radix)))
            rest /= UInt64(radix)
        }
        text[start...].reverse()
    }

    /// The line of a further hard link. All other keywords are in the line of the first one.
    ///
    /// - Parameter first: the escaped path of the first hard link. The keyword is this program's own: mtree(5) has
    ///   none.
    init(linkTo first: [UInt8], _ status: FileStatus) {
        add("type", Self.type(of: status).utf8)
        add("hardlink", first)
    }

    /// Reads the metadata and the content of a path.
    ///
    /// - Parameters:
    ///   - strength: the keyword for the content of a regular file.
    ///   - known: the digest of a regular file, if the caller has it already.
    /// - Throws: `SyscallFailure`, errors of `check`.
    init(
        _ entry: TreeWalk.Entry, buffer: ReadBuffer, strength: RecordStrength = .digest,
        known: (FileStatus) -> ContentDigest? = { _ in nil }, check: () throws -> Void
    ) throws {
        let status = entry.status
        addStatus(status)
        guard let name = entry.name, entry.directory == nil else {
            if let directory = entry.directory { try addAttributes(of: directory.file) }
            return
        }
        switch status.kind {
        case .regular:
            add("size", status.size)
            if let digest = known(status) {
                add(RecordStrength.digest.rawValue, digest.hex.utf8)
            } else {
                let file = try entry.parent.openFile(name, expecting: status)
                try addContent(of: file, status, strength, buffer, check)
                try addAttributes(of: file)
                return
            }
        case .symlink:
            begin("link")
            Self.escape(try entry.parent.readLink(name), onto: &text)
        case .character(let device), .block(let device):
            add("device", "linux,\(device.major),\(device.minor)".utf8)
        case .directory, .fifo, .socket: break
        }
        add(try entry.parent.fileAttributes(of: name))
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
        add("type", Self.type(of: status).utf8)
        add("mode", status.mode, radix: 8, digits: 4)
        add("uid", status.uid)
        add("gid", status.gid)
        add("time", status.modificationTime.seconds)
        text.append(UInt8(ascii: "."))
        append(status.modificationTime.nanoseconds, digits: 9)
    }

    private mutating func addAttributes(of file: borrowing File) throws(SyscallFailure) {
        add(try file.fileAttributes())
    }

    /// Adds attributes in the form of go-mtree.
    private mutating func add(_ attributes: [(name: AttributeName, value: [UInt8])]) {
        for (name, value) in attributes.sorted(by: { $0.name < $1.name }) {
            text.append(UInt8(ascii: " "))
            text += Self.attributePrefix.utf8
            Self.escape(name.bytes, onto: &text)
            text.append(UInt8(ascii: "="))
            text += Data(value).base64EncodedData()
        }
    }

    private static let attributePrefix = "xattr."

    private mutating func addContent(
        of file: borrowing File, _ status: FileStatus, _ strength: RecordStrength, _ buffer: ReadBuffer,
        _ check: () throws -> Void
    ) throws {
        switch strength {
        case .digest:
            var digester = ContentDigester()
            try Self.read(file, status, buffer, check) { digester.update($0, at: $1) }
            add(strength.rawValue, digester.finish(size: status.size).hex.utf8)
        case .checksum:
            var checksum = Checksum()
            var end: Int64 = 0
            try Self.read(file, status, buffer, check) { bytes, position in
                checksum.update(zeros: position - end)
                checksum.update(bytes)
                end = position + Int64(bytes.byteCount)
            }
            checksum.update(zeros: status.size - end)
            add(strength.rawValue, checksum.finish())
        }
    }

    /// Calls `body` with a file's data in order, each piece with its offset, up to the size in the status. Holes are
    /// not read.
    private static func read(
        _ file: borrowing File, _ status: FileStatus, _ buffer: ReadBuffer, _ check: () throws -> Void,
        _ body: (RawSpan, Int64) -> Void
    ) throws {
        var position: Int64 = 0
        let mayHaveHoles = status.blocks * FileStatus.blockSize < status.size
        while position < status.size {
            let data = mayHaveHoles ? try file.data(from: position) : position..<status.size
            guard let data, data.lowerBound < status.size else { return }
            position = data.lowerBound
            while position < min(data.upperBound, status.size) {
                try check()
                let count = try file.read(at: position, with: buffer) { bytes in
                    let rest = Int(min(status.size - position, Int64(bytes.byteCount)))
                    body(bytes.extracting(first: rest), position)
                    return Int64(rest)
                }
                // The file was truncated meanwhile.
                if count == 0 { return }
                position += count
            }
        }
    }

    /// How the content of a regular file is recorded; nil for another type.
    var strength: RecordStrength? {
        RecordStrength.allCases.first { self[$0.rawValue] != nil }
    }

    // MARK: Text

    func write(path: [UInt8], onto output: inout [UInt8]) {
        output += path
        output += text
        output.append(UInt8(ascii: "\n"))
    }

    /// - Parameter text: the line from the space after the path on, without the end of the line.
    /// - Returns: nil for text that `write` does not write.
    init?(parsing text: ArraySlice<UInt8>) {
        self.text = Array(text)
        let keywords = self.keywords
        guard let keywords, keywords.first?.name.elementsEqual("type".utf8) == true,
            Set(keywords.map(\.name)).count == keywords.count,
            text.allSatisfy({ (0x20...0x7E).contains($0) })
        else { return nil }
    }

    private typealias Keyword = (name: ArraySlice<UInt8>, value: ArraySlice<UInt8>)

    /// The keywords in the order of the line; nil if they are malformed.
    private var keywords: [Keyword]? {
        var keywords = [Keyword]()
        for field in text.split(separator: UInt8(ascii: " "), omittingEmptySubsequences: false).dropFirst() {
            guard let equals = field.firstIndex(of: UInt8(ascii: "=")), equals > field.startIndex else {
                return nil
            }
            keywords.append((field[..<equals], field[(equals + 1)...]))
        }
        return keywords
    }

    subscript(_ name: String) -> [UInt8]? {
        keywords?.first { $0.name.elementsEqual(name.utf8) }.map { Array($0.value) }
    }

    /// The keywords without attributes of the kernel, which earlier versions recorded.
    private var filesKeywords: [Keyword]? {
        keywords?.filter { keyword in
            guard keyword.name.starts(with: Self.attributePrefix.utf8),
                let name = Self.unescaped(keyword.name.dropFirst(Self.attributePrefix.utf8.count)),
                let attribute = AttributeName(name)
            else { return true }
            // The first byte decides. A value that is not base64 is compared as it is.
            guard let value = Data(base64Encoded: Data(keyword.value.prefix(4))) else { return true }
            return attribute.belongsToFile(Array(value))
        }
    }

    /// The keywords that have other values in another line, or that only one of the two lines has.
    func differences(
        to other: TreeLine
    ) -> [(name: [UInt8], expected: [UInt8]?, found: [UInt8]?)] {
        guard text != other.text, let keywords = filesKeywords, let otherKeywords = other.keywords else {
            return []
        }
        let own = Dictionary(keywords) { first, _ in first }
        let others = Dictionary(otherKeywords) { first, _ in first }
        return keywords.filter { others[$0.name] != $0.value }.map {
            (Array($0.name), Array($0.value), others[$0.name].map { Array($0) })
        }
            + otherKeywords.filter { own[$0.name] == nil }.map { (Array($0.name), nil, Array($0.value)) }
    }

    /// Escapes bytes for mtree(5): unprintable ones and those with a meaning in mtree(5) as `\ooo` (vis(3), VIS_OCTAL,
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

    /// Nil for text that `escape` does not write.
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
}
