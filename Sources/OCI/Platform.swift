/// What an image runs on (OCI image spec, image-index.md): Go's names, normalised as containerd does.
package struct Platform: Hashable, Sendable, CustomStringConvertible {
    package enum ParseError: Error, Equatable, Sendable, CustomStringConvertible {
        case malformed(String)

        package var description: String {
            switch self {
            case .malformed(let text): "'\(text)' is not a platform (expected os/arch or os/arch/variant)"
            }
        }
    }

    package let os: String
    package let architecture: String
    /// Nil where the architecture has none or does not say: `arm64` is `arm64/v8`, `arm` is `arm/v7`.
    package let variant: String?

    package init(os: String, architecture: String, variant: String? = nil) {
        let variant = variant.flatMap { $0.isEmpty ? nil : $0.lowercased() }
        let architecture = architecture.lowercased()
        self.os = os.lowercased()
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

    /// From `os/arch` or `os/arch/variant`.
    package init(parsing text: String) throws(ParseError) {
        let parts = text.split(separator: "/", omittingEmptySubsequences: false)
        guard (2...3).contains(parts.count), parts.allSatisfy({ !$0.isEmpty }) else { throw .malformed(text) }
        self.init(
            os: String(parts[0]), architecture: String(parts[1]),
            variant: parts.count == 3 ? String(parts[2]) : nil)
    }

    /// What this program was built for.
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

    package var isUnknown: Bool { os == "unknown" || architecture == "unknown" }

    package var description: String {
        // The defaults are left out, as everybody writes them.
        if let variant, !(architecture == "arm64" && variant == "v8") {
            return "\(os)/\(architecture)/\(variant)".printable
        }
        return "\(os)/\(architecture)".printable
    }
}

extension Platform: Codable {
    private enum CodingKeys: String, CodingKey { case os, architecture, variant }

    package init(from decoder: any Decoder) throws {
        let container = try decoder.container(keyedBy: CodingKeys.self)
        /// Platforms are written with slashes between their parts, and read again.
        func part(_ key: CodingKeys) throws -> String? {
            guard let text = try container.decodeIfPresent(String.self, forKey: key), !text.isEmpty else {
                return nil
            }
            if text.contains("/") {
                throw DecodingError.dataCorruptedError(
                    forKey: key, in: container, debugDescription: "'\(text)' is no part of a platform")
            }
            return text
        }
        self.init(
            os: try part(.os) ?? "unknown", architecture: try part(.architecture) ?? "unknown",
            variant: try part(.variant))
    }
}

extension Platform {
    /// How far an image for `candidate` is from what is wanted: 0 is the best, nil does not fit. Levels of one
    /// architecture contain each other, so that an image for a lower one runs too.
    ///
    /// - Parameter mayExceed: whether no variant means any, the lowest first: so it is where somebody asks, but a
    ///   machine has the level that it has.
    package func distance(to candidate: Platform, mayExceed: Bool) -> Int? {
        guard os == candidate.os, architecture == candidate.architecture else { return nil }
        if variant == candidate.variant { return 0 }
        let takesAny = mayExceed && variant == nil
        guard let level, let other = candidate.level else { return takesAny ? .max : nil }
        return other <= level || takesAny ? abs(level - other) : nil
    }

    /// Nil where the architecture has no levels, or not this one.
    private var level: Int? {
        if architecture == "amd64", variant == nil { return 1 }
        guard let lowest = Self.lowestLevels[architecture], let variant, variant.hasPrefix("v"),
            let level = Int(variant.dropFirst()), level >= lowest
        else { return nil }
        return level
    }

    private static let lowestLevels = ["amd64": 1, "arm": 5, "arm64": 8]
}
