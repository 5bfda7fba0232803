/// One image for one platform, with verified documents.
package struct Image: Sendable {
    /// Descriptor of the manifest.
    package let descriptor: Descriptor
    package let manifest: ImageManifest
    package let config: ImageConfig
    /// Steps, lowest layer first; at least one: an image without layers has the step of the empty layer.
    package let steps: [LayerStep]

    package init(
        descriptor: Descriptor, manifest: ImageManifest, config: ImageConfig, steps: [LayerStep]
    ) {
        self.descriptor = descriptor
        self.manifest = manifest
        self.config = config
        self.steps = steps
    }
}
