internal import Compression
package import Kernel

/// The checksums (cksum(1)) of the files that a layer's entries wrote, so that nobody has to read them again to record the
/// tree.
package struct ContentChecksums: Sendable {
    private var values = [UInt64: UInt32]()

    /// - Parameter status: of a regular file of the layer.
    /// - Returns: nil if it has to be read: it came from elsewhere, or there were too many to be remembered.
    package subscript(status: FileStatus) -> UInt32? { values[status.identity.inode] }

    /// - Parameter file: complete. It may have the inode number of one that is gone.
    mutating func remember(
        _ checksum: Checksum, of file: borrowing File, _ account: Budget.Account
    ) throws(SyscallFailure) {
        let inode = try file.status().identity.inode
        if values[inode] != nil || account.rememberChecksum() { values[inode] = checksum.finish() }
    }

    /// - Parameter file: one whose content came from elsewhere, and that may have the inode number of one that is gone.
    mutating func forget(_ file: borrowing File) throws(SyscallFailure) {
        values[try file.status().identity.inode] = nil
    }
}

/// The checksum of a file whose data comes in pieces, with holes between them.
struct SparseChecksum {
    private var checksum = Checksum()
    private var position: Int64 = 0

    /// - Parameter offset: not before the end of the last piece.
    mutating func update(_ bytes: RawSpan, at offset: Int64) {
        skip(to: offset)
        checksum.update(bytes)
        position += Int64(bytes.byteCount)
    }

    /// - Parameter size: of the whole file.
    mutating func finish(size: Int64) -> Checksum {
        skip(to: size)
        return checksum
    }

    private mutating func skip(to offset: Int64) {
        if offset > position { checksum.update(zeros: offset - position) }
        position = offset
    }
}
