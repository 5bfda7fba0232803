internal import Kernel
package import OCI
internal import Streams
package import SystemPackage

/// An OCI image layout in a directory (OCI image spec, image-layout.md). It is input from outside: nothing in
/// it is believed before its size and digest are.
package struct ImageLayout: Sendable {
    /// Manifests and configs; containerd and Docker refuse larger ones too.
    package static let largestDocument: Int64 = 4 << 20
    /// Indexes list every platform and attestation of an image.
    package static let largestIndex: Int64 = 16 << 20

    package let path: FilePath
    private let directory: Directory
    package let index: ImageIndex

    /// - Throws: `.notFound`, `.notADirectory`, `.notALayout`, `.document`, `.system`.
    package init(opening path: FilePath) throws(LayoutFailure) {
        self.path = path
        do {
            directory = try Directory(opening: path)
        } catch {
            switch error.errno {
            case .noSuchFileOrDirectory: throw .notFound(path)
            case .notDirectory: throw .notADirectory(path)
            default: throw .system(error)
            }
        }
        do {
            _ = try LayoutMarker(parsing: try Self.readFile("oci-layout", in: directory, of: path))
            index = try ImageIndex(parsing: try Self.readFile("index.json", in: directory, of: path))
        } catch let error as LayoutFailure {
            throw error
        } catch {
            throw .notALayout(path, reason: "\(error)")
        }
    }

    private static func readFile(
        _ name: String, in directory: Directory, of layout: FilePath
    ) throws(LayoutFailure) -> [UInt8] {
        do {
            let file = try directory.openFollowing(FilePath(name))
            guard try file.status().kind == .regular else {
                throw LayoutFailure.notALayout(layout, reason: "\(name) is not a file")
            }
            var bytes = [UInt8]()
            var chunk = [UInt8]()
            repeat {
                try file.read(into: &chunk, limit: 1 << 16)
                bytes += chunk
                if Int64(bytes.count) > largestIndex {
                    throw LayoutFailure.documentTooLarge(
                        name: name, size: Int64(bytes.count), limit: largestIndex)
                }
            } while !chunk.isEmpty
            return bytes
        } catch let error as LayoutFailure {
            throw error
        } catch let error as SyscallFailure where error.errno == .noSuchFileOrDirectory {
            throw .notALayout(layout, reason: "it has no \(name)")
        } catch let error as SyscallFailure {
            throw .system(error)
        } catch {
            throw .notALayout(layout, reason: "\(name): \(error)")
        }
    }

    // MARK: Blobs

    /// Opens a blob to be read once, checked as it is read. What the descriptor has embedded needs no file. Symlinks to regular files are followed, as some
    /// publishers keep their blobs elsewhere; a FIFO or a device is refused without waiting for it.
    ///
    /// - Throws: `.blobMissing`, `.blobNotAFile`, `.wrongSize`, `.system`.
    package func open(_ descriptor: Descriptor) throws(LayoutFailure) -> VerifiedBlob {
        VerifiedBlob(descriptor, from: try source(of: descriptor))
    }

    /// Whether a blob is there and as large as its descriptor says, without reading it.
    ///
    /// - Throws: as `open`.
    package func check(_ descriptor: Descriptor) throws(LayoutFailure) { _ = try source(of: descriptor) }

    private func source(of descriptor: Descriptor) throws(LayoutFailure) -> VerifiedBlob.Source {
        guard let bytes = descriptor.data?.bytes else { return .file(try openBlob(descriptor)) }
        guard bytes.count == descriptor.size else {
            throw .wrongSize(
                descriptor.digest, expected: descriptor.size, found: Int64(bytes.count))
        }
        return .memory(bytes)
    }

    private func openBlob(_ descriptor: Descriptor) throws(LayoutFailure) -> File {
        let digest = descriptor.digest
        do {
            let file = try directory.openFollowing(
                FilePath("blobs/\(digest.algorithm.rawValue)/\(digest.hex)"))
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

    /// Reads a whole document, verified.
    func read(_ descriptor: Descriptor, limit: Int64) throws(LayoutFailure) -> [UInt8] {
        guard descriptor.size <= limit else {
            throw .documentTooLarge(name: "\(descriptor.digest)", size: descriptor.size, limit: limit)
        }
        var blob = try open(descriptor)
        var bytes = [UInt8]()
        var chunk = [UInt8]()
        repeat {
            try blob.read(into: &chunk, limit: 1 << 16)
            bytes += chunk
        } while !chunk.isEmpty
        try blob.finish()
        return bytes
    }

    // MARK: Documents

    package func readIndex(_ descriptor: Descriptor) throws(LayoutFailure) -> ImageIndex {
        let bytes = try read(descriptor, limit: Self.largestIndex)
        return try named(descriptor) { () throws(DocumentError) in try ImageIndex(parsing: bytes) }
    }

    package func readManifest(_ descriptor: Descriptor) throws(LayoutFailure) -> ImageManifest {
        let bytes = try read(descriptor, limit: Self.largestDocument)
        return try named(descriptor) { () throws(DocumentError) in try ImageManifest(parsing: bytes) }
    }

    package func readConfig(_ descriptor: Descriptor) throws(LayoutFailure) -> ImageConfig {
        let bytes = try read(descriptor, limit: Self.largestDocument)
        return try named(descriptor) { () throws(DocumentError) in try ImageConfig(parsing: bytes) }
    }

    /// The manifest and config behind a selected descriptor, and the steps to unpack it.
    package func load(_ descriptor: Descriptor) throws(LayoutFailure) -> Image {
        let manifest = try readManifest(descriptor)
        guard manifest.config.mediaType.isConfig else {
            throw .document(
                name: "manifest \(descriptor.digest)",
                reason: "it is an artifact, not an image: its config is '\(manifest.config.mediaType)'")
        }
        let config = try readConfig(manifest.config)
        let steps = try named(descriptor) { () throws(DocumentError) in try LayerStep.plan(manifest, config) }
        return Image(descriptor: descriptor, manifest: manifest, config: config, steps: steps)
    }

    private func named<Value>(
        _ descriptor: Descriptor, _ parse: () throws(DocumentError) -> Value
    ) throws(LayoutFailure) -> Value {
        do {
            return try parse()
        } catch {
            let kind =
                descriptor.mediaType.isIndex ? "index" : descriptor.mediaType.isConfig ? "config" : "manifest"
            throw .document(name: "\(kind) \(descriptor.digest)", reason: error.description)
        }
    }
}

/// One image for one platform, its documents read and verified.
package struct Image: Sendable {
    /// Of the manifest.
    package let descriptor: Descriptor
    package let manifest: ImageManifest
    package let config: ImageConfig
    /// Lowest first, at least one.
    package let steps: [LayerStep]
}
