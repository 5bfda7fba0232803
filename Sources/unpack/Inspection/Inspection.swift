internal import Kernel
internal import Programs
internal import Unpacking

/// How PATH is resolved, for `--help`.
let pathDiscussion = """
    PATH is resolved from the image's root. Symlinks are followed inside the image; one in the last component is followed \
    only if PATH ends with '/'. Names are typed as they are printed: '\\xNN' is a byte, '\\\\' a backslash.
    """

/// Runs an inspection of images, with progress on a terminal. SIGINT and SIGTERM cancel it.
func inspect<Value>(_ verbosity: LogOptions, _ body: (ImageInspector, Cancellation) throws -> Value) throws
    -> Value
{
    let cancellation = Cancellation()
    try Program.onTermination { cancellation.cancel(signal: $0) }
    let progress = ProgressReport(verbosity)
    return try progress.watch {
        try body(ImageInspector(cancellation: cancellation, onEvent: { progress.take($0) }), cancellation)
    }
}

/// The bytes of a typed path of an image: the inverse of `escaped`.
func unescaped(_ text: String) -> [UInt8] {
    let backslash = UInt8(ascii: "\\")
    var bytes = [UInt8]()
    var rest = Array(text.utf8)[...]
    while let first = rest.popFirst() {
        bytes.append(first)
        guard first == backslash else { continue }
        if rest.first == backslash {
            rest.removeFirst()
        } else if rest.first == UInt8(ascii: "x"), rest.count > 2,
            let byte = UInt8(String(decoding: rest.dropFirst().prefix(2), as: UTF8.self), radix: 16),
            !rest.dropFirst().prefix(2).contains(UInt8(ascii: "+"))
        {
            bytes[bytes.count - 1] = byte
            rest = rest.dropFirst(3)
        }
    }
    return bytes
}

/// Buffered output of lines to stdout. Like `say`, it escapes what would control a terminal.
struct LineWriter {
    private var text = ""

    mutating func add(_ line: String, isFaint: Bool = false) throws {
        let line = printable(line)
        text += (isFaint ? "\u{1B}[2m\(line)\u{1B}[0m" : line) + "\n"
        if text.utf8.count > 1 << 16 { try flush() }
    }

    mutating func flush() throws {
        let text = text
        self.text = ""
        try attempt { try Console.write(text) }
    }
}
