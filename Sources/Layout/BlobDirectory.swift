package import Kernel
package import OCI
internal import SystemPackage

/// A directory of blobs, each in a file `ALGORITHM/HEX`: the `blobs` directory of an image layout (OCI image spec,
/// image-layout.md, "Blobs"), or that of containerd's content store.
package struct BlobDirectory: BlobSource {
    private let directory: Directory
    private let prefix: String

    package init(_ directory: Directory) { self.init(directory, prefix: "") }

    /// - Parameter prefix: prepended to each path.
    init(_ directory: Directory, prefix: String) {
        self.directory = directory
        self.prefix = prefix
    }

    package func open(_ descriptor: Descriptor) throws(LayoutFailure) -> VerifiedBlob {
        VerifiedBlob(descriptor, from: .file(try openFile(descriptor)))
    }

    private func path(_ name: String, of digest: Digest) -> FilePath {
        FilePath("\(prefix)\(digest.algorithm.rawValue)").pushing(FilePath(name))
    }

    /// Opens the file of a blob. Symlinks to regular files are followed, because some publishers store their blobs
    /// elsewhere. A FIFO or a device is rejected without blocking.
    func openFile(_ descriptor: Descriptor) throws(LayoutFailure) -> File {
        let digest = descriptor.digest
        do {
            let file = try directory.openFollowing(path(digest.hex, of: digest))
            let status = try file.status()
            guard status.kind == .regular else {
                throw LayoutFailure.blobNotAFile(digest, what: status.kind.noun)
            }
            if status.size == descriptor.size { return file }
            if let target = try openTextLink(file, status.size, descriptor) { return target }
            throw LayoutFailure.wrongSize(digest, expected: descriptor.size, found: status.size)
        } catch let error as LayoutFailure {
            throw error
        } catch let error as SyscallFailure {
            switch error.errno {
            case .noSuchFileOrDirectory, .notDirectory: throw .blobMissing(digest)
            default: throw .system(error)
            }
        } catch {
            throw .document(name: "\(digest)", reason: "\(error)")
        }
    }

    /// Opens the target of a blob that is a text file with a path. Without symlink support, git checks out a symlink
    /// as such a file, and some layouts are published in git. The path is only followed beneath the layout, and only
    /// to a regular file of the right size.
    private func openTextLink(
        _ file: borrowing File, _ size: Int64, _ descriptor: Descriptor
    ) throws(SyscallFailure) -> File? {
        guard (1..<Self.longestLink).contains(size) else { return nil }
        var text = [UInt8]()
        try file.read(into: &text, limit: Int(size))
        guard let link = String(validating: text, as: UTF8.self), !text.contains(where: { $0 < 0x20 }) else {
            return nil
        }
        do {
            let target = try directory.openBeneath(path(link, of: descriptor.digest))
            let status = try target.status()
            guard status.kind == .regular, status.size == descriptor.size else { return nil }
            return target
        } catch {
            return nil
        }
    }

    /// PATH_MAX: the maximum length of a symlink's target.
    private static let longestLink: Int64 = 4096
}
