/// The user's selection of an image; nil properties select nothing.
package struct Selector: Sendable {
    package let reference: String?
    /// Digest of a manifest, or of an index that contains it.
    package let digest: Digest?
    /// Position of a descriptor in `index.json`, from 0.
    package let position: Int?
    /// Nil for the platform of this machine.
    package let platform: Platform?

    package init(
        reference: String? = nil, digest: Digest? = nil, position: Int? = nil, platform: Platform? = nil
    ) {
        self.reference = reference
        self.digest = digest
        self.position = position
        self.platform = platform
    }

    /// Whether the selector names an image, not only a platform.
    package var namesImage: Bool { reference != nil || digest != nil || position != nil }

    /// Whether anything was selected.
    package var selectsAnything: Bool { namesImage || platform != nil }
}
