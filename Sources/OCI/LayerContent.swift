/// The tar of a layer that was read or written.
package struct LayerContent: Sendable {
    package let diffID: DiffID
    /// Bytes of the tar.
    package let size: Int64

    package init(diffID: DiffID, size: Int64) {
        self.diffID = diffID
        self.size = size
    }
}

/// A layer that was written.
package struct WrittenLayer: Sendable {
    /// Descriptor of the blob.
    package let descriptor: Descriptor
    package let content: LayerContent

    package init(descriptor: Descriptor, content: LayerContent) {
        self.descriptor = descriptor
        self.content = content
    }
}
