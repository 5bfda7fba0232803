/// The platform of an image (OCI image spec, image-index.md), with Go's names, normalized as containerd does.
package struct Platform: Hashable, Sendable, CustomStringConvertible {
    package enum ParseError: Error, Equatable, Sendable, CustomStringConvertible {
        case malformed(String)

        package var description: String {
            switch self {
            case .malformed(let text):
                "'\(text.printable)' is not a platform (expected os/arch or os/arch/variant; the os may have a version and "
                    + "features, as in 'os(version+feature)')"
            }
        }
    }

    /// The `os` or `architecture` of an image that does not declare it: it matches any.
    package static let any = "any"

    package let os: String
    package let architecture: String
    /// Nil if the architecture has no variants or none is declared. Normalized: `arm64` is `arm64/v8`, `arm` is
    /// `arm/v7`.
    package let variant: String?
    /// The operating-system version that the image requires.
    package let osVersion: String?
    /// The operating-system features that the image requires: sorted, without duplicates.
    package let osFeatures: [String]

    package init(
        os: String, architecture: String, variant: String? = nil, osVersion: String? = nil,
        osFeatures: [String] = []
    ) {
        let variant = variant.flatMap { $0.isEmpty ? nil : $0.lowercased() }
        let architecture = architecture.lowercased()
        self.os = os.lowercased()
        self.osVersion = osVersion.flatMap { $0.isEmpty ? nil : $0 }
        self.osFeatures = Set(osFeatures.filter { !$0.isEmpty }).sorted()
        switch (architecture, variant) {
        case ("x86_64", _), ("x86-64", _), ("amd64", _):
            self.architecture = "amd64"
            self.variant = variant == "v1" ? nil : variant
        case ("aarch64", _), ("arm64", _):
            self.architecture = "arm64"
            self.variant = variant == "8" ? "v8" : variant ?? "v8"
        case ("armhf", _):
            self.architecture = "arm"
            self.variant = "v7"
        case ("arm", _):
            self.architecture = "arm"
            self.variant = variant.map { $0.hasPrefix("v") ? $0 : "v\($0)" } ?? "v7"
        case ("i386", _), ("i686", _), ("x86", _):
            self.architecture = "386"
            self.variant = nil
        default:
            self.architecture = architecture
            self.variant = variant
        }
    }

    /// The platform that this program was built for.
    package static let host: Platform = {
        #if arch(x86_64)
            Platform(os: "linux", architecture: "amd64")
        #elseif arch(arm64)
            Platform(os: "linux", architecture: "arm64")
        #elseif arch(powerpc64le)
            Platform(os: "linux", architecture: "ppc64le")
        #elseif arch(s390x)
            Platform(os: "linux", architecture: "s390x")
        #elseif arch(riscv64)
            Platform(os: "linux", architecture: "riscv64")
        #else
            Platform(os: "linux", architecture: "unsupported")
        #endif
    }()

    /// The platform of an image that declares none.
    package static let unspecified = Platform(os: any, architecture: any)

    package var isUnspecified: Bool { os == Self.any && architecture == Self.any }

    /// Whether this is the platform that BuildKit gives to manifests that are not images.
    package var isUnknown: Bool { os == "unknown" && architecture == "unknown" }

    /// Whether both operating system and architecture are declared.
    package var isComplete: Bool { os != Self.any && architecture != Self.any }

    /// This platform, with missing parts taken from another one.
    package func completed(by other: Platform) -> Platform {
        let (architecture, variant) =
            architecture == Self.any
            ? (other.architecture, other.variant) : (self.architecture, self.variant)
        return Platform(
            os: os == Self.any ? other.os : os, architecture: architecture, variant: variant,
            osVersion: osVersion ?? other.osVersion,
            osFeatures: osFeatures.isEmpty ? other.osFeatures : osFeatures)
    }
}

// MARK: As text

extension Platform {
    /// `os/arch` or `os/arch/variant`, without default variants. The operating system is followed by its version and
    /// features in the notation of containerd: `windows(10.0.17763+win32k)/amd64`.
    package var description: String {
        let options = ([osVersion ?? ""] + osFeatures).map(Self.encoded).joined(separator: "+")
        let os = options.isEmpty ? os : "\(os)(\(options))"
        if let variant, !(architecture == "arm64" && variant == "v8") {
            return "\(os)/\(architecture)/\(variant)".printable
        }
        return "\(os)/\(architecture)".printable
    }

    /// Parses the notation of `description`.
    package init(parsing text: String) throws(ParseError) {
        // Split as bytes: Swift treats a slash with a combining mark as another Character.
        let parts = Self.parts(text, UInt8(ascii: "/"))
        guard (2...3).contains(parts.count), parts.allSatisfy({ !$0.isEmpty }) else { throw .malformed(text) }
        var os = parts[0]
        var options = [""]
        if os.utf8.last == UInt8(ascii: ")") {
            guard let open = os.utf8.firstIndex(of: UInt8(ascii: "(")), open > os.startIndex else {
                throw .malformed(text)
            }
            let list = String(decoding: os.utf8[open...].dropFirst().dropLast(), as: UTF8.self)
            options = Self.parts(list, UInt8(ascii: "+")).compactMap(Self.decoded)
            os = String(decoding: os.utf8[..<open], as: UTF8.self)
            guard options.count == Self.parts(list, UInt8(ascii: "+")).count, options != [""],
                options.dropFirst().allSatisfy({ !$0.isEmpty })
            else { throw .malformed(text) }
        }
        self.init(
            os: os, architecture: parts[1], variant: parts.count == 3 ? parts[2] : nil, osVersion: options[0],
            osFeatures: Array(options.dropFirst()))
    }

    private static func parts(_ text: String, _ separator: UInt8) -> [String] {
        text.utf8.split(separator: separator, omittingEmptySubsequences: false).map {
            String(decoding: $0, as: UTF8.self)
        }
    }

    /// Percent-encodes every byte except ASCII letters, digits, `.`, `_` and `-`.
    private static func encoded(_ option: String) -> String {
        let digits = Array("0123456789ABCDEF".utf8)
        return String(
            decoding: option.utf8.flatMap { byte in
                switch byte {
                case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
                    UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "."), UInt8(ascii: "_"),
                    UInt8(ascii: "-"):
                    [byte]
                default: [UInt8(ascii: "%"), digits[Int(byte >> 4)], digits[Int(byte & 15)]]
                }
            }, as: UTF8.self)
    }

    private static func decoded(_ option: String) -> String? {
        var bytes = [UInt8]()
        var rest = Array(option.utf8)[...]
        while let byte = rest.popFirst() {
            guard byte == UInt8(ascii: "%") else {
                bytes.append(byte)
                continue
            }
            let digits = rest.prefix(2)
            guard digits.count == 2, digits.allSatisfy({ Character(Unicode.Scalar($0)).isHexDigit }),
                let value = UInt8(String(decoding: digits, as: UTF8.self), radix: 16)
            else { return nil }
            bytes.append(value)
            rest = rest.dropFirst(2)
        }
        return String(validating: bytes, as: UTF8.self)
    }
}

// MARK: In documents

extension Platform: Codable {
    private enum CodingKeys: String, CodingKey {
        case os, architecture, variant
        case osVersion = "os.version"
        case osFeatures = "os.features"
    }

    package init(from decoder: any Decoder) throws {
        let container = try decoder.container(keyedBy: CodingKeys.self)
        /// Decodes a part that must not contain the separators of the text form, which is parsed again.
        func part(_ key: CodingKeys) throws -> String? {
            guard let text = try container.decodeIfPresent(String.self, forKey: key), !text.isEmpty else {
                return nil
            }
            if text.utf8.contains(where: { "/()".utf8.contains($0) }) {
                throw DecodingError.dataCorruptedError(
                    forKey: key, in: container,
                    debugDescription: "'\(text)' is not a valid part of a platform")
            }
            return text
        }
        self.init(
            os: try part(.os) ?? Self.any, architecture: try part(.architecture) ?? Self.any,
            variant: try part(.variant),
            osVersion: try container.decodeIfPresent(String.self, forKey: .osVersion),
            osFeatures: try container.decodeIfPresent([String].self, forKey: .osFeatures) ?? [])
    }

    package func encode(to encoder: any Encoder) throws {
        var container = encoder.container(keyedBy: CodingKeys.self)
        if os != Self.any { try container.encode(os, forKey: .os) }
        if architecture != Self.any { try container.encode(architecture, forKey: .architecture) }
        try container.encodeIfPresent(variant, forKey: .variant)
        try container.encodeIfPresent(osVersion, forKey: .osVersion)
        if !osFeatures.isEmpty { try container.encode(osFeatures, forKey: .osFeatures) }
    }
}
