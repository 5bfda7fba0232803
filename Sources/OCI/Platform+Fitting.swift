extension Platform {
    /// How far a platform is from the one that is wanted. The least one fits best.
    package struct Distance: Comparable, Sendable {
        /// Features that were asked for and that the image does not need.
        let features: Int
        /// Levels of the architecture between them; `.max` for an image that does not say for which platform it is.
        let levels: Int
        /// Whether only one of them has a version of the operating system.
        let isOfOtherVersion: Bool

        package static func < (one: Distance, other: Distance) -> Bool {
            (one.features, one.levels, one.isOfOtherVersion ? 1 : 0)
                < (other.features, other.levels, other.isOfOtherVersion ? 1 : 0)
        }
    }

    /// How far an image for `candidate` is from what is wanted; nil if it does not fit. Levels of one architecture contain each
    /// other, so that an image for a lower one runs too. Each of `os.features` is mandatory: an image that needs one which was
    /// not asked for does not fit (OCI image spec, image-index.md).
    ///
    /// - Parameter mayExceed: whether no variant means any, the lowest first. That holds for a platform that a user asks for;
    ///   a machine has the level that it has.
    package func distance(to candidate: Platform, mayExceed: Bool) -> Distance? {
        guard let levels = levels(to: candidate, mayExceed: mayExceed), fitsVersion(of: candidate),
            Set(osFeatures).isSuperset(of: candidate.osFeatures)
        else { return nil }
        return Distance(
            features: osFeatures.count - candidate.osFeatures.count, levels: levels,
            isOfOtherVersion: (osVersion == nil) != (candidate.osVersion == nil))
    }

    private func levels(to candidate: Platform, mayExceed: Bool) -> Int? {
        guard [os, Self.any].contains(candidate.os),
            [architecture, Self.any].contains(candidate.architecture)
        else { return nil }
        if !candidate.isComplete { return .max }
        if variant == candidate.variant { return 0 }
        let takesAny = mayExceed && variant == nil
        guard let level, let other = candidate.level else { return takesAny ? .max : nil }
        return other <= level || takesAny ? abs(level - other) : nil
    }

    /// Whether the candidate's version is the wanted one, or one of its builds: `10.0.17763` is asked for, and `10.0.17763.1` fits.
    private func fitsVersion(of candidate: Platform) -> Bool {
        guard let osVersion, let other = candidate.osVersion, osVersion != other else { return true }
        return other.utf8.starts(with: "\(osVersion).".utf8)
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
