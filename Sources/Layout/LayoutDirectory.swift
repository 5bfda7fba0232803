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

    func check(_ descriptor: Descriptor) throws(LayoutFailure) { _ = try blobs.openFile(descriptor) }

    func open(_ descriptor: Descriptor) throws(LayoutFailure) -> VerifiedBlob.Source {
        .file(try blobs.openFile(descriptor))
    }

    private var blobs: BlobDirectory { BlobDirectory(directory, prefix: "blobs/") }
}
