package import Kernel
internal import Layers
package import Mounts
package import OCI

extension Differ {
    /// Writes the layer with the difference between two trees, which mounts describe. The same trees give the same
    /// blob. Attaches no mount, and writes nothing to the trees.
    ///
    /// - Parameters:
    ///   - mediaType: type of the blob: a layer tar of OCI or Docker, plain or compressed.
    ///   - latest: as in `LayerWriter`.
    ///   - output: receives the bytes of the blob in order, on the calling thread. Its error is thrown as `.output`.
    /// - Throws: `.unsupported` for other media types, for mounts that `ContainerdTree` does not support, and for an
    ///   overlay that only the kernel can read. The output that was written before an error is not a valid blob.
    package func makeLayer(
        from old: [ContainerdMount], to new: [ContainerdMount], as mediaType: MediaType,
        latest: Timestamp? = nil,
        cancellation: Cancellation = Cancellation(), output: @escaping (RawSpan) throws -> Void
    ) throws(DifferFailure) -> WrittenLayer {
        var failure: (any Error)?
        do {
            // They own the detached mounts, and must stay open until the end.
            let old = try OpenTree(ContainerdTree(old), isWritable: false)
            let new = try OpenTree(ContainerdTree(new), isWritable: false)
            return try withExtendedLifetime((old, new)) {
                try LayerWriter.write(
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
