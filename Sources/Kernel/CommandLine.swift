internal import CKernel
internal import Glibc

/// What the process was started with, as bytes.
extension Process {
    /// The arguments of `main`, the program's own name first.
    ///
    /// Swift's `CommandLine.arguments` reads /proc/self/cmdline instead: without /proc it is empty, and bytes that are not UTF-8
    /// become other ones.
    package static let arguments: [[UInt8]] = (0..<ck_argument_count()).map { index in
        ck_argument(index).map {
            UnsafeBufferPointer(start: $0, count: strlen($0)).map(UInt8.init(bitPattern:))
        }
            ?? []
    }

    /// The value of an environment variable; nil if it is not set.
    package static func environmentVariable(_ name: String) -> [UInt8]? {
        getenv(name).map { UnsafeBufferPointer(start: $0, count: strlen($0)).map(UInt8.init(bitPattern:)) }
    }

    /// Whether /proc is mounted and knows this process: files are reached through /proc/self/fd where the kernel has no other
    /// call for it.
    package static var hasProc: Bool { ck_has_proc() == 1 }

    /// The environment, `NAME=VALUE` each, as C strings.
    static func environment() -> [[CChar]] {
        var lines = [[CChar]]()
        var next = environ
        while let line = next.pointee {
            lines.append(Array(UnsafeBufferPointer(start: line, count: strlen(line) + 1)))
            next += 1
        }
        return lines
    }
}

extension [CChar] {
    /// Whether a C string begins with a text.
    func hasPrefix(_ text: StaticString) -> Bool {
        text.withUTF8Buffer { prefix in
            prefix.map(CChar.init(bitPattern:)).elementsEqual(self.prefix(prefix.count))
        }
    }
}
