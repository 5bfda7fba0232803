/// One image for one platform, with verified documents.
package struct Image: Sendable {
    /// Descriptor of the manifest.
    package let descriptor: Descriptor
    package let manifest: ImageManifest
    package let config: ImageConfig
    /// The documents as the image has them, byte for byte.
    package let documents: Documents
    /// Steps, lowest layer first; at least one: an image without layers has the step of the empty layer.
    package let steps: [LayerStep]

    package struct Documents: Sendable {
        package let manifest: [UInt8]
        package let config: [UInt8]

        package init(manifest: [UInt8], config: [UInt8]) {
            self.manifest = manifest
            self.config = config
        }
    }

    package init(
        descriptor: Descriptor, manifest: ImageManifest, config: ImageConfig, documents: Documents,
        steps: [LayerStep]
    ) {
        self.descriptor = descriptor
        self.manifest = manifest
        self.config = config
        self.documents = documents
        self.steps = steps
    }
}
