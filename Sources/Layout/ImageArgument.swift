internal import Kernel
package import OCI
package import SystemPackage

/// What the user typed for an image: `PATH`, `PATH:REF`, `PATH@sha256:…` or `PATH@INDEX`, perhaps behind one of skopeo's
/// transports (containers-transports(5)), which write `PATH:@INDEX`.
package struct ImageArgument: Equatable, Sendable {
    package let source: ImageSource
    package private(set) var reference: String?
    package private(set) var digest: Digest?
    /// The number of a descriptor in `index.json`, or of an image in a docker-archive; from 0.
    package private(set) var position: Int?

    /// - Parameter exists: whether a path is there; one that is wins over splitting at `:` or `@`, and over a transport.
    /// - Throws: `Digest.ParseError` for what looks like a digest and is none, `ForeignTransport`.
    package init(parsing text: String, exists: (FilePath) -> Bool) throws {
        var transport: ImageSource.Transport?
        var rest = text
        if !exists(FilePath(text)), let colon = text.firstIndex(of: ":") {
            let name = String(text[..<colon])
            transport = ImageSource.Transport(rawValue: name)
            if transport != nil { rest = String(text[text.index(after: colon)...]) }
            if ForeignTransport.names.contains(name), !exists(FilePath(name)) {
                throw ForeignTransport(name: name, text: text)
            }
        }
        func isThere(_ path: Substring) -> Bool { path == "-" || exists(FilePath(String(path))) }
        if !isThere(rest[...]) {
            var malformed: Digest.ParseError?
            if let at = rest.lastIndex(of: "@"), isThere(rest[..<at]) {
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
            // References have colons too (`busybox:1.37.0-glibc`): the shortest path that exists.
            for colon in rest.indices where rest[colon] == ":" && isThere(rest[..<colon]) {
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
            // Behind a transport a path has no colon.
            if transport != nil, let colon = rest.firstIndex(of: ":") { rest = String(rest[..<colon]) }
        }
        source = ImageSource(FilePath(rest), transport)
    }

    private static func number(_ text: Substring) -> Int? {
        text.allSatisfy { $0.isASCII && $0.isNumber } ? Int(text) : nil
    }
}

/// One of skopeo's transports that is no place on this machine's disk, or one that keeps no OCI image.
package struct ForeignTransport: Error, Equatable, Sendable {
    static let names: Set = [
        "docker", "docker-daemon", "containers-storage", "dir", "ostree", "sif", "tarball", "http", "https",
        "atomic",
    ]

    package let name: String
    /// All that was typed.
    package let text: String
}
