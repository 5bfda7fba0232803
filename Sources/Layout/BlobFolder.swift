package import Kernel
package import OCI
internal import SystemPackage

/// Blobs as files `ALGORITHM/HEX`: the folder `blobs` of an image layout (OCI image spec, image-layout.md, "Blobs"), or of
/// containerd's content store.
package struct BlobFolder: BlobSource {
    private let directory: Directory
    private let prefix: String

    package init(_ directory: Directory) { self.init(directory, prefix: "") }

    /// - Parameter prefix: what stands before the algorithm in each path.
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

    /// Symlinks to regular files are followed, as some publishers keep their blobs elsewhere; a FIFO or a device is refused
    /// without waiting for it.
    func openFile(_ descriptor: Descriptor) throws(LayoutFailure) -> File {
        let digest = descriptor.digest
        do {
            let file = try directory.openFollowing(path(digest.hex, of: digest))
            let status = try file.status()
            switch status.kind {
            case .regular: break
            case .directory: throw LayoutFailure.blobNotAFile(digest, what: "a directory")
            case .fifo: throw LayoutFailure.blobNotAFile(digest, what: "a FIFO")
            case .socket: throw LayoutFailure.blobNotAFile(digest, what: "a socket")
            case .symlink, .character, .block: throw LayoutFailure.blobNotAFile(digest, what: "a device")
            }
            if status.size == descriptor.size { return file }
            if let target = try followText(file, status.size, descriptor) { return target }
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

    /// Where symlinks are not possible, git checks one out as a small file with the link's text: layouts that
    /// are published in git come like that. Such a text is followed inside the layout only, and to a file of
    /// the right size.
    private func followText(
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

    /// PATH_MAX: no link is longer.
    private static let longestLink: Int64 = 4096
}
