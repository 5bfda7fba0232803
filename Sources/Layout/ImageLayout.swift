internal import Compression
package import Kernel
package import OCI
package import SystemPackage

/// An OCI image layout in a directory or an archive (OCI image spec, image-layout.md). Its content is untrusted until
/// size and digest are verified.
package struct ImageLayout: Sendable {
    /// Maximum size of a manifest or config in bytes; containerd and Docker reject larger ones too.
    package static let largestDocument: Int64 = 4 << 20
    /// Maximum size of an index in bytes: an index lists every platform and attestation of an image.
    package static let largestIndex: Int64 = 16 << 20

    /// Progress callback: the number of bytes of a stream that have arrived, while the requested ones have not.
    package typealias Arrival = @Sendable (Int64) -> Void

    /// Path for messages and documents; `-` is standard input.
    package let path: FilePath
    package let index: ImageIndex
    private let files: any LayoutFiles

    /// - Parameters:
    ///   - folder: directory for the unnamed temporary file of a stream or a compressed archive.
    ///   - cancellation: checked ten times a second while waiting for a stream.
    /// - Throws: `.notFound`, `.notADirectory`, `.isADirectory`, `.notALayout`, `.unreadable`, `.windowTooLarge`,
    ///   `.noSpace`, `.inputIsTerminal`, `.document`, `.documentTooLarge`, `.cancelled`, `.system`.
    package init(
        opening source: ImageSource, in folder: FilePath = Process.temporaryFolder,
        cancellation: Cancellation = Cancellation(), onProgress: @escaping Arrival = { _ in }
    ) throws(LayoutFailure) {
        path = source.path
        let files: any LayoutFiles
        do {
            files = try Self.files(of: source, in: folder, cancellation, onProgress)
        } catch {
            throw LayoutFailure(error, reading: source.path)
        }
        if let archive = files as? ImageArchive {
            (self.files, index) = try Self.open(archive, source.transport)
        } else {
            self.files = files
            index = try Self.index(of: files, path)
        }
    }

    package init(opening path: FilePath) throws(LayoutFailure) { try self.init(opening: ImageSource(path)) }

    private static func files(
        of source: ImageSource, in folder: FilePath, _ cancellation: Cancellation,
        _ onProgress: @escaping Arrival
    ) throws -> any LayoutFiles {
        let path = source.path
        func arriving(_ open: @escaping @Sendable () throws(SyscallFailure) -> File) throws(LayoutFailure)
            -> ImageArchive
        {
            try ImageArchive(
                path, arriving: ArchiveStream(open), longestSilence: source.longestSilence, in: folder,
                cancellation: cancellation,
                onProgress: onProgress)
        }
        let isInput = source.isStandardInput
        // Opening a FIFO blocks until a writer opens it: the receiving thread does that.
        if !isInput, source.transport != .oci, (try? File.status(of: path))?.kind == .fifo {
            return try arriving { () throws(SyscallFailure) in try File.open(path, .read) }
        }
        let file: File
        do throws(SyscallFailure) {
            file = try isInput ? File.standardInput() : File.open(path, .read)
        } catch {
            throw Self.opening(path, error)
        }
        switch (try file.status().kind, source.transport) {
        case (.directory, nil), (.directory, .oci): return LayoutDirectory(path, Directory(adopting: file))
        case (.directory, _): throw LayoutFailure.isADirectory(path)
        case (_, .oci): throw LayoutFailure.notADirectory(path)
        case (.character, _) where file.isTerminal: throw LayoutFailure.inputIsTerminal
        case (.regular, _):
            var start = [UInt8]()
            try file.read(into: &start, limit: 512, at: 0)
            if try start.withRawSpan(CompressionFormat.init(sniffing:)) == .none {
                return try ImageArchive(path, inPlace: file, cancellation: cancellation)
            }
        default: break
        }
        return try arriving { () throws(SyscallFailure) in
            try isInput ? File.standardInput() : File.open(path, .read)
        }
    }

    private static func opening(_ path: FilePath, _ error: SyscallFailure) -> LayoutFailure {
        error.isMissing || error.errno == .notDirectory ? .notFound(path) : .system(error)
    }

    /// Opens the index of an archive. Since version 25, `docker save` writes an OCI image layout together with the
    /// old `manifest.json`.
    private static func open(
        _ archive: ImageArchive, _ transport: ImageSource.Transport?
    ) throws(LayoutFailure) -> (any LayoutFiles, ImageIndex) {
        if transport == .ociArchive { return (archive, try index(of: archive, archive.path)) }
        if try archive.document("index.json") != nil {
            let index = try index(of: archive, archive.path)
            if !index.manifests.isEmpty { return (archive, index) }
        }
        guard let documents = try archive.document("manifest.json") else {
            let missing = transport == .dockerArchive ? "manifest.json" : "index.json and no manifest.json"
            throw .notALayout(archive.path, reason: "it has no \(missing)")
        }
        let docker = try DockerArchive(archive, documents)
        return (docker, docker.index)
    }

    private static func index(of files: any LayoutFiles, _ path: FilePath) throws(LayoutFailure) -> ImageIndex
    {
        func document(_ name: String) throws(LayoutFailure) -> [UInt8] {
            guard let bytes = try files.document(name) else {
                throw .notALayout(path, reason: "it has no \(name)")
            }
            return bytes
        }
        let (marker, index) = (try document("oci-layout"), try document("index.json"))
        func parse<Value>(
            _ name: String, _ body: () throws(DocumentError) -> Value
        ) throws(LayoutFailure) -> Value {
            do {
                return try body()
            } catch {
                throw .notALayout(path, reason: "\(name): \(error)")
            }
        }
        _ = try parse("oci-layout") { () throws(DocumentError) in try LayoutMarker(parsing: marker) }
        return try parse("index.json") { () throws(DocumentError) in try ImageIndex(parsing: index) }
    }

    /// Reads the rest of a stream, so that its writer can finish.
    ///
    /// - Throws: `.notALayout` if a document that was read has a duplicate.
    package func finish() throws(LayoutFailure) { try files.finish() }

    // MARK: Blobs

    /// Opens a blob for reading once; it is verified while it is read. A blob that is embedded in the descriptor
    /// needs no file. For a stream, this waits until the blob arrives.
    ///
    /// - Throws: `.blobMissing`, `.blobNotAFile`, `.wrongSize`, `.unreadable`, `.cancelled`, `.system`.
    package func open(_ descriptor: Descriptor) throws(LayoutFailure) -> VerifiedBlob {
        VerifiedBlob(descriptor, from: try source(of: descriptor))
    }

    /// Checks that a blob exists and has the size in its descriptor, without reading it and without waiting for a
    /// stream.
    ///
    /// - Throws: as `open`.
    package func check(_ descriptor: Descriptor) throws(LayoutFailure) {
        if descriptor.data == nil { try files.check(descriptor) } else { _ = try source(of: descriptor) }
    }

    private func source(of descriptor: Descriptor) throws(LayoutFailure) -> VerifiedBlob.Source {
        guard let bytes = descriptor.data?.bytes else { return try files.open(descriptor) }
        guard bytes.count == descriptor.size else {
            throw .wrongSize(
                descriptor.digest, expected: descriptor.size, found: Int64(bytes.count))
        }
        return .memory(bytes)
    }

    /// Reads and verifies a whole document.
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

    /// Returns the failure if it concerns a single document or blob.
    ///
    /// - Throws: the failure if it concerns the whole layout.
    package func failureOfOneDocument(_ failure: LayoutFailure) throws(LayoutFailure) -> LayoutFailure {
        try files.failureOfOneDocument(failure)
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

    /// Reads the manifest and config of a descriptor, and plans the steps to unpack the image.
    package func load(_ descriptor: Descriptor) throws(LayoutFailure) -> Image {
        let manifestBytes = try read(descriptor, limit: Self.largestDocument)
        let manifest = try named(descriptor) { () throws(DocumentError) in
            try ImageManifest(parsing: manifestBytes)
        }
        guard manifest.config.mediaType.isConfig else {
            throw .notAnImage(
                descriptor.digest,
                reason: "it is an artifact, not an image: its config is '\(manifest.config.mediaType)'")
        }
        let configBytes = try read(manifest.config, limit: Self.largestDocument)
        let config = try named(manifest.config) { () throws(DocumentError) in
            try ImageConfig(parsing: configBytes)
        }
        let steps = try named(descriptor) { () throws(DocumentError) in try LayerStep.plan(manifest, config) }
        return Image(
            descriptor: descriptor, manifest: manifest, config: config,
            documents: Image.Documents(manifest: manifestBytes, config: configBytes), steps: steps)
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
