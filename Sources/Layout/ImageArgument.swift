internal import Kernel
package import OCI
package import SystemPackage

/// An image argument of the command line: `PATH`, `PATH:REF`, `PATH@sha256:…` or `PATH@INDEX`, optionally after a
/// transport of skopeo (containers-transports(5)), for which the index is written `PATH:@INDEX`.
package struct ImageArgument: Equatable, Sendable {
    package let source: ImageSource
    package private(set) var reference: String?
    package private(set) var digest: Digest?
    /// Index of a descriptor in `index.json`, or of an image in a docker-archive, from 0.
    package private(set) var position: Int?

    /// - Parameter exists: whether a path exists; an existing path takes precedence over splitting at `:` or `@`, and
    ///   over a transport.
    /// - Throws: `Digest.ParseError` for a malformed digest after an existing path, `UnsupportedTransport`.
    package init(parsing text: String, exists: (FilePath) -> Bool) throws {
        var transport: ImageSource.Transport?
        var rest = text
        if !exists(FilePath(text)), let colon = text.firstIndex(of: ":") {
            let name = String(text[..<colon])
            transport = ImageSource.Transport(rawValue: name)
            if transport != nil { rest = String(text[text.index(after: colon)...]) }
            if UnsupportedTransport.names.contains(name), !exists(FilePath(name)) {
                throw UnsupportedTransport(name: name, text: text)
            }
        }
        func isPresent(_ path: Substring) -> Bool { path == "-" || exists(FilePath(String(path))) }
        if !isPresent(rest[...]) {
            var malformed: Digest.ParseError?
            if let at = rest.lastIndex(of: "@"), isPresent(rest[..<at]) {
                let choice = rest[rest.index(after: at)...]
                do {
                    position = Self.number(choice)
                    if position == nil { digest = try Digest(parsing: String(choice)) }
                    source = ImageSource(FilePath(String(rest[..<at])), transport)
                    return
                } catch {
                    malformed = error
                }
            }
            // References contain colons too (`busybox:1.37.0-glibc`): the shortest existing path is used.
            for colon in rest.indices where rest[colon] == ":" && isPresent(rest[..<colon]) {
                let choice = rest[rest.index(after: colon)...]
                source = ImageSource(FilePath(String(rest[..<colon])), transport)
                if choice.hasPrefix("@"), let number = Self.number(choice.dropFirst()) {
                    position = number
                } else {
                    reference = String(choice)
                }
                return
            }
            if let malformed { throw malformed }
            // After a transport, a path cannot contain a colon.
            if transport != nil, let colon = rest.firstIndex(of: ":") { rest = String(rest[..<colon]) }
        }
        source = ImageSource(FilePath(rest), transport)
    }

    private static func number(_ text: Substring) -> Int? {
        text.allSatisfy { $0.isASCII && $0.isNumber } ? Int(text) : nil
    }
}

/// A transport of skopeo that is not supported: it does not name a local file, or does not store OCI images.
package struct UnsupportedTransport: Error, Equatable, Sendable {
    static let names: Set = [
        "docker", "docker-daemon", "containers-storage", "dir", "ostree", "sif", "tarball", "http", "https",
        "atomic",
    ]

    package let name: String
    /// The whole argument.
    package let text: String
}
