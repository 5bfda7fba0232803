import Kernel
import TestSupport
import Testing

extension FileName: ExpressibleByStringLiteral {
    public init(stringLiteral literal: String) { self.init(literal: literal) }
}

extension Directory {
    /// Makes a file, or replaces the content of an existing one.
    func put(_ name: FileName, _ text: String, mode: UInt32 = 0o644) throws {
        let file = try openOrCreateFile(name, mode: mode)
        try file.truncate(to: 0)
        try Array(text.utf8).withRawSpan { try file.write($0, at: 0) }
        try file.close()
    }

    func read(_ name: FileName) throws -> String {
        var bytes = [UInt8]()
        try openFile(name).read(into: &bytes, limit: 1 << 16)
        return String(decoding: bytes, as: UTF8.self)
    }

    func owner(of name: FileName) throws -> [UInt32] {
        try status(of: name).map { [$0.uid, $0.gid] } ?? []
    }
}
