package import Kernel
package import Streams

/// The digests of the files that a layer's entries wrote, so that the tree is recorded without reading them again.
package struct ContentDigests: Sendable {
    private var values = [UInt64: ContentDigest]()

    /// - Parameter status: of a regular file of the layer.
    /// - Returns: nil if it has to be read: it came from elsewhere, or there were too many to be kept.
    package subscript(status: FileStatus) -> ContentDigest? { values[status.identity.inode] }

    /// - Parameter file: complete. It may have the inode number of one that is gone.
    mutating func add(
        _ digest: ContentDigest, of file: borrowing File, _ account: Budget.Account
    ) throws(SyscallFailure) {
        let inode = try file.status().identity.inode
        if values[inode] != nil || account.keepDigest() { values[inode] = digest }
    }

    /// - Parameter file: one whose content came from elsewhere, and that may have the inode number of one that is gone.
    mutating func remove(_ file: borrowing File) throws(SyscallFailure) {
        values[try file.status().identity.inode] = nil
    }
}
