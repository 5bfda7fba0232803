package import OCI

/// What the user chose by; nil is no choice.
package struct Selector: Sendable {
    package let reference: String?
    /// Of a manifest, or of an index that holds it.
    package let digest: Digest?
    /// The number of a descriptor in the index, from 0.
    package let position: Int?
    /// Nil is this machine's.
    package let platform: Platform?

    package init(
        reference: String? = nil, digest: Digest? = nil, position: Int? = nil, platform: Platform? = nil
    ) {
        self.reference = reference
        self.digest = digest
        self.position = position
        self.platform = platform
    }

    /// Whether it names an image, not only a platform.
    var isOneImage: Bool { reference != nil || digest != nil || position != nil }

    /// Whether anything was chosen.
    package var isChoice: Bool { isOneImage || platform != nil }
}
