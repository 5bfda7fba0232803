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
    private let store: StoreOptions
    private let writableKey: String?
    private let target: FilePath?

    init(_ result: UnpackResult, in store: StoreOptions, writableKey: String?, target: FilePath?) {
        self.result = result
        self.store = store
        self.writableKey = writableKey
        self.target = target
    }

    /// One line of words that a shell needs no quotes for.
    func mountLine() throws -> String {
        // A chain ID has one colon, which is nothing special to a shell.
        let performed = try store.performedMount(of: writableKey ?? result.chainID.description)
        return try attempt {
            try MountLine(result.mounts, form: .ofThisKernel, target: target, performed: performed).text
        }
    }

    /// Topmost first, like `lowerdir`.
    func paths() -> String { result.layers.reversed().map(\.path.string).joined(separator: "\n") }

    func json() throws -> String {
        let document = ResultDocument(
            image: .init(
                name: result.reference, digest: result.image.descriptor.digest,
                mediaType: result.image.descriptor.mediaType),
            platform: result.platform.description, snapshotter: store.snapshotterName,
            chainID: result.chainID,
            readonly: result.mounts.allSatisfy(\.isReadOnly),
            mounts: result.mounts.map { MountDocument($0, target: target) },
            layers: result.layers.map { layer in
                .init(
                    digest: layer.step.descriptor.digest, diffID: layer.step.diffID,
                    chainID: layer.step.chainID,
                    path: layer.path.string, size: layer.step.descriptor.size, cached: layer.isCached)
            },
            warnings: result.warnings, config: result.image.config.execution)
        return try attempt { try encoded(document) }
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

    struct Layer: Encodable {
        let digest: Digest
        let diffID: DiffID
        let chainID: ChainID
        let path: String
        let size: Int64
        let cached: Bool
    }
}
