internal import Kernel
internal import Layout
internal import Programs
internal import Streams
internal import SystemPackage
internal import Unpacking

/// Where PATH leads, for `--help`.
let pathDiscussion = """
    PATH is one of the image's root: symlinks on the way are followed inside the image, the last component only if a \
    '/' stands behind it. Names are typed as they are printed: '\\xNN' is a byte, '\\\\' a backslash.
    """

/// Opens the one image of a layout that was asked for.
func openImage(_ text: String, _ selection: SelectionOptions) throws -> OpenedImage {
    let (source, selector) = try selection.resolve(text)
    return try attempt {
        let layout = try ImageLayout(opening: source)
        let image = try layout.load(try layout.select(selector).descriptor)
        return OpenedImage(layout: layout, image: image)
    }
}

/// Looks into images, with progress on a terminal, and ends when it is asked to.
func looking<Value>(_ talk: TalkOptions, _ body: (ImageLook, Cancellation) throws -> Value) throws -> Value {
    let cancellation = Cancellation()
    try attempt { try Process.onTermination { cancellation.cancel(signal: $0) } }
    let progress = ProgressReport(talk)
    return try progress.watch {
        try body(ImageLook(cancellation: cancellation, onEvent: { progress.take($0) }), cancellation)
    }
}

/// What was typed as a path of an image: `escaped` taken back.
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

/// From the root, and escaped.
func shown(_ path: [FileName]) -> String { "/" + path.map(\.description).joined(separator: "/") }

/// Many lines, written some at a time, as `say` writes them.
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
