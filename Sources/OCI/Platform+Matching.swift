extension Platform {
    /// The distance of a candidate platform from the requested one: the smallest is the best match.
    package struct Distance: Comparable, Sendable {
        /// Number of requested OS features that the image does not need.
        let features: Int
        /// Difference between the architecture levels; `.max` if the image does not declare its platform, or if the
        /// difference is unknown.
        let levels: Int
        /// Whether only one of the two platforms has an OS version.
        let isOfOtherVersion: Bool

        package static func < (one: Distance, other: Distance) -> Bool {
            (one.features, one.levels, one.isOfOtherVersion ? 1 : 0)
                < (other.features, other.levels, other.isOfOtherVersion ? 1 : 0)
        }
    }

    /// The distance of an image for `candidate` from the requested platform; nil if the image does not match. Each
    /// level of an architecture includes the lower ones, so that an image for a lower level also runs. Each of
    /// `os.features` is mandatory: an image that needs a feature that was not requested does not match (OCI image
    /// spec, image-index.md).
    ///
    /// - Parameter allowsHigherLevels: whether a missing variant matches any level, the lowest first. True for a
    ///   platform that a user requests; false for the machine, whose level is fixed.
    package func distance(to candidate: Platform, allowsHigherLevels: Bool) -> Distance? {
        guard let levels = levels(to: candidate, allowsHigherLevels: allowsHigherLevels),
            fitsVersion(of: candidate),
            Set(osFeatures).isSuperset(of: candidate.osFeatures)
        else { return nil }
        return Distance(
            features: osFeatures.count - candidate.osFeatures.count, levels: levels,
            isOfOtherVersion: (osVersion == nil) != (candidate.osVersion == nil))
    }

    private func levels(to candidate: Platform, allowsHigherLevels: Bool) -> Int? {
        guard [os, Self.any].contains(candidate.os),
            [architecture, Self.any].contains(candidate.architecture)
        else { return nil }
        if !candidate.isComplete { return .max }
        if variant == candidate.variant { return 0 }
        let takesAny = allowsHigherLevels && variant == nil
        guard let level, let other = candidate.level else { return takesAny ? .max : nil }
        return other <= level || takesAny ? abs(level - other) : nil
    }

    /// Whether the candidate's OS version is the requested one or one of its builds: the request `10.0.17763` matches
    /// `10.0.17763.1`.
    private func fitsVersion(of candidate: Platform) -> Bool {
        guard let osVersion, let other = candidate.osVersion, osVersion != other else { return true }
        return other.utf8.starts(with: "\(osVersion).".utf8)
    }

    /// The architecture level; nil if the architecture has no levels, or not this one.
    private var level: Int? {
        if architecture == "amd64", variant == nil { return 1 }
        guard let lowest = Self.lowestLevels[architecture], let variant, variant.hasPrefix("v"),
            let level = Int(variant.dropFirst()), level >= lowest
        else { return nil }
        return level
    }

    private static let lowestLevels = ["amd64": 1, "arm": 5, "arm64": 8]
}
