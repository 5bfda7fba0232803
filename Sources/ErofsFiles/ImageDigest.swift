internal import Erofs
package import Kernel
package import OCI
internal import Streams

/// The digests of the image of a layer.
package struct ImageDigest: Equatable, Sendable {
    /// The digest of the tar in the image, SHA-256; nil for an image without one.
    package let tar: Digest?
    /// SHA-256 of all bytes but the tar, followed by the bytes of `tar` in hexadecimal: it depends on every byte.
    package let all: Digest
    /// Number of files and directories in the image.
    package let inodeCount: UInt64

    /// Reads an image.
    ///
    /// - Parameters:
    ///   - tar: the digest of the tar, if the caller knows it: then the tar is not read.
    ///   - check: called for each 256 KiB; an error that it throws ends the work.
    /// - Throws: `ErofsError` for a file that is not an image, `SyscallFailure`.
    package init(of file: consuming File, knownTar tar: Digest? = nil, check: () throws -> Void = {}) throws {
        let length = UInt64(try file.status().size)
        let store = FileStore(file)
        let image = try ErofsImage(store, length: length)
        guard image.length == length else { throw ErofsError.corrupt(.truncated, node: nil) }
        inodeCount = image.inodeCount
        var all = Digester(.sha256)
        let range = ErofsWriter.tarOffset..<ErofsWriter.tarOffset + (image.tarLength ?? 0)
        try store.read(0..<range.lowerBound, into: &all, check)
        if image.tarLength == nil {
            self.tar = nil
        } else if let tar, tar.algorithm == .sha256 {
            self.tar = tar
        } else {
            var digester = Digester(.sha256)
            try store.read(range, into: &digester, check)
            self.tar = digester.finish()
        }
        try store.read(range.upperBound..<length, into: &all, check)
        if let tar = self.tar { all.update(Array(tar.hex.utf8)) }
        self.all = all.finish()
    }

    /// Reads the tar of an image.
    ///
    /// - Returns: its digest; nil for an image without a tar.
    package static func tar(
        of file: consuming File, _ algorithm: Digest.Algorithm, check: () throws -> Void
    ) throws -> Digest? {
        let length = UInt64(try file.status().size)
        let store = FileStore(file)
        guard let tarLength = try ErofsImage(store, length: length).tarLength else { return nil }
        var digester = Digester(algorithm)
        try store.read(
            ErofsWriter.tarOffset..<ErofsWriter.tarOffset + tarLength, into: &digester, check)
        return digester.finish()
    }
}

extension FileStore {
    /// Digests bytes of the file.
    fileprivate func read(
        _ range: Range<UInt64>, into digester: inout Digester, _ check: () throws -> Void
    ) throws {
        var buffer = [UInt8]()
        var position = range.lowerBound
        while position < range.upperBound {
            try check()
            let count = Int(min(range.upperBound - position, 256 << 10))
            try read(count, at: position, into: &buffer)
            guard buffer.count == count else { throw ErofsError.corrupt(.truncated, node: nil) }
            digester.update(buffer)
            position += UInt64(count)
        }
    }
}
