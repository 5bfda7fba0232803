internal import Erofs
internal import ErofsFiles
internal import Kernel
internal import OCI

/// The verification of the image of a committed snapshot.
struct ImageVerification {
    /// The recorded digest (`ImageDigest.all`).
    let digest: Digest
    /// The recorded digest of fs-verity; nil if there is none.
    let verityDigest: Digest?
    /// The chain that the snapshot was verified to hold; nil for a snapshot of a user or a client.
    let chain: Chain?

    struct Chain {
        let id: ChainID
        /// The chain of the layers below; nil for the lowest layer.
        let base: ChainID?
    }

    /// Reads an image and compares it with the record, and its tar with the chain.
    ///
    /// - Parameter check: called often; an error that it throws ends the work.
    /// - Returns: the number of its paths.
    /// - Throws: `ErofsError` for a file that is not an image, `SyscallFailure`, errors of `check` and `report`.
    func run(
        _ file: consuming File, check: () throws -> Void, report: (String) throws -> Void
    ) throws -> Int {
        let again = try file.duplicated()
        // A copy of the store on another file system may have lost fs-verity without any change of the content.
        if let recorded = verityDigest, let bytes = try file.verityDigest() {
            let measured = Digest(.sha256, bytes: bytes)
            if measured != recorded {
                try report("the fs-verity digest of the image is \(measured), recorded as \(recorded)")
            }
        }
        let found = try ImageDigest(of: file, check: check)
        if let chain, !(try holds(chain, found.tar, again, check)) {
            try report("the tar in the image does not have the diff ID of the layer")
        } else if found.all != digest {
            try report(
                chain == nil
                    ? "the image has the digest \(found.all), recorded as \(digest)"
                    : "the image has changed outside of its tar: its digest is \(found.all), recorded as \(digest)"
            )
        }
        return Int(found.inodeCount)
    }

    /// Whether the tar in the image proves the chain. The digest of a diff ID may be of either algorithm.
    private func holds(
        _ chain: Chain, _ tar: Digest?, _ file: consuming File, _ check: () throws -> Void
    ) throws -> Bool {
        guard let tar else { return true }
        if ChainID(of: DiffID(tar), on: chain.base) == chain.id { return true }
        guard let other = try ImageDigest.tar(of: file, .sha512, check: check) else { return false }
        return ChainID(of: DiffID(other), on: chain.base) == chain.id
    }
}
