package import Kernel
package import Layers
package import Mounts
package import OCI
package import Streams

extension Differ {
    /// Makes the layer that leads from what some mounts show to what others show. Nothing is mounted where others see it, and
    /// nothing is written. The same trees give the same blob.
    ///
    /// - Parameters:
    ///   - mediaType: a tar of OCI's or Docker's, plain or compressed; what it says is what is made.
    ///   - latest: as `LayerMaker` has it.
    ///   - output: takes the blob's bytes in order, on the calling thread. What it throws comes back as `.output`.
    /// - Throws: `.unsupported` for other media types, for mounts as `ForeignTree` has it, and for an overlay that only the
    ///   kernel can read. What the output has got then is worth nothing.
    package func makeLayer(
        from old: [ForeignMount], to new: [ForeignMount], as mediaType: MediaType, latest: Timestamp? = nil,
        cancellation: Cancellation = Cancellation(), output: @escaping (RawSpan) throws -> Void
    ) throws(DifferFailure) -> MadeLayer {
        var failure: (any Error)?
        do {
            // Open until the end: they keep the mounts of file systems.
            let old = try OpenTree(ForeignTree(old), isWritable: false)
            let new = try OpenTree(ForeignTree(new), isWritable: false)
            return try withExtendedLifetime((old, new)) {
                try LayerMaker.write(
                    from: old.view, to: new.view, as: mediaType, latest: latest, cancellation: cancellation
                ) { bytes in
                    do {
                        try output(bytes)
                    } catch {
                        failure = error
                        throw error
                    }
                }
            }
        } catch {
            if let failure { throw DifferFailure.output(failure) }
            throw DifferFailure.wrapping(error, "the layer between two trees")
        }
    }
}

extension OpenTree {
    fileprivate var view: LowerView { LowerView(layers, marks) }
}
