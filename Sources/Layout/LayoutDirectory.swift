internal import Kernel
internal import OCI
internal import SystemPackage

/// An OCI image layout in a directory.
struct LayoutDirectory: LayoutFiles {
    private let path: FilePath
    private let directory: Directory

    init(_ path: FilePath, _ directory: Directory) {
        self.path = path
        self.directory = directory
    }

    func document(_ name: String) throws(LayoutFailure) -> [UInt8]? {
        do {
            let file = try directory.openFollowing(FilePath(name))
            guard try file.status().kind == .regular else {
                throw LayoutFailure.notALayout(path, reason: "\(name) is not a file")
            }
            var bytes = [UInt8]()
            var chunk = [UInt8]()
            repeat {
                try file.read(into: &chunk, limit: 1 << 16)
                bytes += chunk
                if Int64(bytes.count) > ImageLayout.largestIndex {
                    throw LayoutFailure.documentTooLarge(
                        name: name, size: Int64(bytes.count), limit: ImageLayout.largestIndex)
                }
            } while !chunk.isEmpty
            return bytes
        } catch let error as LayoutFailure {
            throw error
        } catch let error as SyscallFailure where error.errno == .noSuchFileOrDirectory {
            return nil
        } catch let error as SyscallFailure {
            throw .system(error)
        } catch {
            throw .notALayout(path, reason: "\(name): \(error)")
        }
    }

    func check(_ descriptor: Descriptor) throws(LayoutFailure) { _ = try openBlob(descriptor) }

    /// Symlinks to regular files are followed, as some publishers keep their blobs elsewhere; a FIFO or a device is refused
    /// without waiting for it.
    func open(_ descriptor: Descriptor) throws(LayoutFailure) -> VerifiedBlob.Source {
        .file(try openBlob(descriptor))
    }

    private func openBlob(_ descriptor: Descriptor) throws(LayoutFailure) -> File {
        let digest = descriptor.digest
        do {
            let file = try directory.openFollowing(
                FilePath(blobPath(digest)))
            let status = try file.status()
            switch status.kind {
            case .regular: break
            case .directory: throw LayoutFailure.blobNotAFile(digest, what: "a directory")
            case .fifo: throw LayoutFailure.blobNotAFile(digest, what: "a FIFO")
            case .symlink, .socket, .character, .block:
                throw LayoutFailure.blobNotAFile(digest, what: "a device")
            }
            if status.size == descriptor.size { return file }
            if let target = try followText(file, status.size, descriptor) { return target }
            throw LayoutFailure.wrongSize(digest, expected: descriptor.size, found: status.size)
        } catch let error as LayoutFailure {
            throw error
        } catch let error as SyscallFailure {
            switch error.errno {
            case .noSuchFileOrDirectory, .notDirectory: throw .blobMissing(digest)
            case .noSuchAddressOrDevice: throw .blobNotAFile(digest, what: "a socket or a device")
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
            let path = FilePath("blobs/\(descriptor.digest.algorithm.rawValue)").pushing(FilePath(link))
            let target = try directory.openBeneath(path)
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
