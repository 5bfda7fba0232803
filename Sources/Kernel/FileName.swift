/// One component of a path as the kernel takes it: 1 to 255 bytes without `/` and NUL, neither `.` nor `..`.
///
/// Bytes, never `String`: a name need not be UTF-8 (path_resolution(7)).
package struct FileName: Hashable, Sendable, CustomStringConvertible {
    /// NAME_MAX of every Linux file system that can hold a layer (limits.h).
    package static let maximumLength = 255

    /// The bytes and the NUL that C wants behind them.
    private let terminated: [UInt8]

    /// Nil unless `bytes` can name an entry of a directory.
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

    /// `.wh.X` for an X of up to 255 bytes: a name that only an archive can have, of up to 259 bytes. The kernel refuses it
    /// where it is longer than 255 (ENAMETOOLONG). Nil for anything else.
    package init?(whiteout bytes: ArraySlice<UInt8>) {
        guard bytes.starts(with: Self.whiteoutPrefix),
            let hidden = FileName(bytes.dropFirst(Self.whiteoutPrefix.count))
        else { return nil }
        self.init(whiteoutOf: hidden)
    }

    /// `.wh.X` for X.
    package init(whiteoutOf hidden: FileName) { terminated = Self.whiteoutPrefix + hidden.terminated }

    private static let whiteoutPrefix = Array(".wh.".utf8)

    /// For names that the program itself chooses; a wrong one is refused by the kernel, not here.
    package init(literal: String) {
        self.terminated = Array(literal.utf8) + [0]
    }

    /// A component of a path that the user has given, which may be `.` or `..`.
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

/// Bytes from outside as text that a terminal may see: valid printable UTF-8 stays, everything else is
/// `\xNN`.
package func escaped(_ bytes: some Sequence<UInt8>) -> String {
    let all = Array(bytes)
    // Almost all names.
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
            let digits = String(first, radix: 16)
            text += "\\x" + (digits.count < 2 ? "0" : "") + digits
            rest = rest.dropFirst()
        }
    }
    return text
}

/// Text from outside that is meant to be read: a character that a terminal or a log would act on, or that shows as nothing,
/// becomes its bytes, `\xNN` each. Line breaks and bidirectional controls (CVE-2021-42574) are among them.
///
/// Idempotent, and what `escaped` has returned stays as it is: unlike there, a backslash is not doubled.
///
/// - Parameter kept: characters that stay, e.g. the line breaks of a text of several lines.
package func printable(_ text: String, keeping kept: Set<Unicode.Scalar> = []) -> String {
    // Almost all texts.
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

/// Whether a terminal shows the character, and does nothing else with it.
package func isPrintable(_ scalar: Unicode.Scalar) -> Bool {
    switch scalar.properties.generalCategory {
    case .control, .format, .lineSeparator, .paragraphSeparator, .surrogate, .unassigned, .privateUse: false
    default: true
    }
}
