package import Kernel
package import Streams

/// Digests of the files that a layer's entries wrote, so that a tree is recorded without reading their content again.
package struct ContentDigests: Sendable {
    private var values = [UInt64: ContentDigest]()

    /// - Parameter status: status of a regular file of the layer.
    /// - Returns: nil if the content has to be read: it was copied up, or `Budget.maximumDigests` was exceeded.
    package subscript(status: FileStatus) -> ContentDigest? { values[status.identity.inode] }

    /// - Parameter file: a completely written file. Its inode number may be that of a deleted file.
    mutating func add(
        _ digest: ContentDigest, of file: borrowing File, _ account: Budget.Account
    ) throws(SyscallFailure) {
        let inode = try file.status().identity.inode
        if values[inode] != nil || account.reserveDigest() { values[inode] = digest }
    }

    /// - Parameter file: a copied-up file. Its inode number may be that of a deleted file.
    mutating func remove(_ file: borrowing File) throws(SyscallFailure) {
        values[try file.status().identity.inode] = nil
    }
}
