package import Kernel
package import SystemPackage

/// `/proc/self/mountinfo` (proc(5)).
package struct MountTable: Sendable {
    private struct Line {
        let target: [UInt8]
        let options: [UInt8]
    }

    private let lines: [Line]

    package static func read() throws(SyscallFailure) -> MountTable {
        MountTable(parsing: try File.contents(of: "/proc/self/mountinfo"))
    }

    package init(parsing text: [UInt8]) {
        lines = text.split(separator: UInt8(ascii: "\n")).compactMap { line in
            let fields = line.split(separator: UInt8(ascii: " "))
            // 5th: the mount point; behind the lone `-`: type, source, the file system's options.
            guard fields.count > 5, let dash = fields.firstIndex(of: [UInt8(ascii: "-")]),
                fields.count > dash + 3
            else {
                return nil
            }
            return Line(target: Self.unescaped(fields[4]), options: Array(fields[dash + 3]))
        }
    }

    /// Where an overlay with this upper directory is mounted already, if it is.
    package func target(ofUpper upper: FilePath) -> FilePath? {
        let option = Array("upperdir=\(upper.string)".utf8)
        let line = lines.first { $0.options.split(separator: UInt8(ascii: ",")).contains(option[...]) }
        return line.map { FilePath(String(decoding: $0.target, as: UTF8.self)) }
    }

    /// How many lower layers the topmost mount on a directory has; 0 if it is no overlay.
    package func lowers(of target: FilePath) throws(SyscallFailure) -> Int {
        let path = try target.resolved()
        let bytes = Array(path.string.utf8)
        guard let line = lines.last(where: { $0.target == bytes }) else { return 0 }
        var count = 0
        for option in line.options.split(separator: UInt8(ascii: ",")) {
            if option.starts(with: Array("lowerdir+=".utf8)) {
                count += 1
            } else if option.starts(with: Array("lowerdir=".utf8)) {
                count += option.split(separator: UInt8(ascii: ":")).count
            }
        }
        return count
    }

    /// Octal escapes of space, tab, newline and backslash.
    private static func unescaped(_ field: ArraySlice<UInt8>) -> [UInt8] {
        var result = [UInt8]()
        var rest = field
        while let byte = rest.popFirst() {
            let digits = rest.prefix(3)
            if byte == UInt8(ascii: "\\"), digits.count == 3,
                let value = UInt8(String(decoding: digits, as: UTF8.self), radix: 8)
            {
                result.append(value)
                rest = rest.dropFirst(3)
            } else {
                result.append(byte)
            }
        }
        return result
    }
}
