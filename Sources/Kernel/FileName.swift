/// A path component that can name a directory entry: 1 to 255 bytes without `/` and NUL, neither `.` nor `..`.
///
/// Stored as bytes, because names need not be UTF-8 (path_resolution(7)).
package struct FileName: Hashable, Sendable, CustomStringConvertible {
    /// NAME_MAX of every Linux file system that can hold a layer (limits.h).
    package static let maximumLength = 255

    /// The bytes and a terminating NUL for C.
    private let terminated: [UInt8]

    /// Nil if `bytes` cannot name a directory entry.
    package init?(_ bytes: ArraySlice<UInt8>) {
        let dot = UInt8(ascii: ".")
        guard !bytes.isEmpty, bytes.count <= Self.maximumLength, !bytes.contains(0),
            !bytes.contains(UInt8(ascii: "/")), bytes != [dot], bytes != [dot, dot]
        else { return nil }
        var terminated = [UInt8]()
        terminated.reserveCapacity(bytes.count + 1)
        terminated += bytes
        terminated.append(0)
        self.terminated = terminated
    }

    package init?(_ bytes: some Collection<UInt8>) { self.init(Array(bytes)[...]) }

    /// The name `.wh.X` for an X of up to 255 bytes; nil for any other name. It may have up to 259 bytes, which an
    /// archive can hold but the kernel refuses (ENAMETOOLONG).
    package init?(whiteout bytes: ArraySlice<UInt8>) {
        guard bytes.starts(with: Self.whiteoutPrefix),
            let hidden = FileName(bytes.dropFirst(Self.whiteoutPrefix.count))
        else { return nil }
        self.init(whiteoutOf: hidden)
    }

    /// The whiteout name `.wh.X` for X.
    package init(whiteoutOf hidden: FileName) { terminated = Self.whiteoutPrefix + hidden.terminated }

    private static let whiteoutPrefix = Array(".wh.".utf8)

    /// A name chosen by the program; not checked here, so that the kernel refuses an invalid one.
    package init(literal: String) {
        self.terminated = Array(literal.utf8) + [0]
    }

    /// A component of a path from the user; may be `.` or `..`.
    init(component: ArraySlice<UInt8>) { terminated = component + [0] }

    package var bytes: ArraySlice<UInt8> { terminated.dropLast() }
    package var description: String { escaped(bytes) }

    package func hasPrefix(_ prefix: StaticString) -> Bool {
        prefix.withUTF8Buffer { terminated.starts(with: $0) }
    }

    func withCString<Result>(_ body: (UnsafePointer<CChar>) -> Result) -> Result {
        terminated.withUnsafeBytes { raw in
            raw.withMemoryRebound(to: CChar.self) { characters in
                // `terminated` is never empty, so it has a base address.
                body(characters.baseAddress.unsafelyUnwrapped)
            }
        }
    }
}

/// Untrusted bytes as text that is safe to print: valid printable UTF-8 stays, a backslash is doubled, every other byte
/// becomes `\xNN`.
package func escaped(_ bytes: some Sequence<UInt8>) -> String {
    let all = Array(bytes)
    // The common case.
    if all.allSatisfy({ (0x20...0x7E).contains($0) && $0 != UInt8(ascii: "\\") }) {
        return String(decoding: all, as: UTF8.self)
    }
    var rest = all[...]
    var text = ""
    while let first = rest.first {
        let length = first < 0x80 ? 1 : first < 0xE0 ? 2 : first < 0xF0 ? 3 : 4
        let candidate = rest.prefix(length)
        if let scalar = String(validating: candidate, as: UTF8.self)?.unicodeScalars.first,
            isPrintable(scalar)
        {
            text += scalar == "\\" ? "\\\\" : String(scalar)
            rest = rest.dropFirst(length)
        } else {
            text += "\\x" + String(first, radix: 16, minimumDigits: 2)
            rest = rest.dropFirst()
        }
    }
    return text
}

/// Untrusted text that is meant to be read. A character that a terminal or a log would interpret, or that is invisible,
/// becomes its bytes as `\xNN`; line breaks and bidirectional controls (CVE-2021-42574) are among them.
///
/// Idempotent, and keeps the results of `escaped`, because it does not double backslashes.
///
/// - Parameter kept: characters that stay, e.g. the line breaks of a multi-line text.
package func printable(_ text: String, keeping kept: Set<Unicode.Scalar> = []) -> String {
    // The common case.
    if text.utf8.allSatisfy({ (0x20...0x7E).contains($0) }) { return text }
    var result = String.UnicodeScalarView()
    for scalar in text.unicodeScalars {
        if kept.contains(scalar) || isPrintable(scalar) {
            result.append(scalar)
        } else {
            result.append(contentsOf: escaped(String(scalar).utf8).unicodeScalars)
        }
    }
    return String(result)
}

/// Whether a terminal displays the character without interpreting it.
package func isPrintable(_ scalar: Unicode.Scalar) -> Bool {
    switch scalar.properties.generalCategory {
    case .control, .format, .lineSeparator, .paragraphSeparator, .surrogate, .unassigned, .privateUse: false
    default: true
    }
}
