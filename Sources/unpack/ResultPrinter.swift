internal import FoundationEssentials
internal import Kernel
internal import Layout
internal import Mounts
internal import OCI
internal import SystemPackage
internal import Unpacking

/// A result in the forms that `--format` names.
struct ResultPrinter {
    private let result: UnpackResult
    private let root: FilePath
    private let snapshotter: String
    private let writableKey: String?
    private let target: FilePath?

    init(_ result: UnpackResult, root: FilePath, snapshotter: String, writableKey: String?, target: FilePath?)
    {
        self.result = result
        self.root = root
        self.snapshotter = snapshotter
        self.writableKey = writableKey
        self.target = target
    }

    /// One line of words that a shell needs no quotes for.
    func mountLine() throws -> String {
        let what = writableKey ?? result.chainID.description
        // A chain ID has one colon, which is nothing special to a shell.
        let performed = [Self.programName, "mount", "--root", root.string, what]
        return try attempt {
            try MountLine(result.mount, form: .ofThisKernel, target: target, performed: performed).text
        }
    }

    /// As the person can run it: by its name where that finds it, else by its place.
    private static var programName: String {
        guard CommandLine.arguments.first?.contains("/") == true, let path = Process.executablePath() else {
            return "unpack"
        }
        return path.string
    }

    /// Topmost first, like `lowerdir`.
    func paths() -> String { result.layers.reversed().map(\.path.string).joined(separator: "\n") }

    func json() throws -> String {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
        let document = ResultDocument(
            image: .init(
                name: result.reference, digest: result.image.descriptor.digest,
                mediaType: result.image.descriptor.mediaType),
            platform: result.platform.description, snapshotter: snapshotter, chainID: result.chainID,
            readonly: result.mount.isReadOnly,
            mounts: [
                .init(
                    type: result.mount.type, source: result.mount.source, target: target?.string ?? "",
                    options: result.mount.options(.ofThisKernel))
            ],
            layers: result.layers.map { layer in
                .init(
                    digest: layer.step.descriptor.digest, diffID: layer.step.diffID,
                    chainID: layer.step.chainID,
                    path: layer.path.string, size: layer.step.descriptor.size, cached: layer.isCached)
            },
            warnings: result.warnings, config: result.image.config.execution)
        return try attempt { String(decoding: try encoder.encode(document), as: UTF8.self) }
    }
}

/// The shape of `--format json`.
private struct ResultDocument: Encodable {
    var schemaVersion = 1
    let image: Image
    let platform: String
    let snapshotter: String
    let chainID: ChainID
    let readonly: Bool
    let mounts: [MountDocument]
    let layers: [Layer]
    let warnings: [String]
    let config: JSONValue?

    struct Image: Encodable {
        let name: String?
        let digest: Digest
        let mediaType: MediaType
    }

    struct MountDocument: Encodable {
        let type: String
        let source: String
        let target: String
        let options: [String]
    }

    struct Layer: Encodable {
        let digest: Digest
        let diffID: DiffID
        let chainID: ChainID
        let path: String
        let size: Int64
        let cached: Bool
    }
}
