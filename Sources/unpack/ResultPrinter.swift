internal import FoundationEssentials
internal import Kernel
internal import Layout
internal import Mounts
internal import OCI
internal import Programs
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

    func text(_ format: UnpackCommand.Format) throws -> String {
        switch format {
        case .mount: try mountLine()
        case .shell: try shellScript()
        case .json: try json()
        case .containerd: try ContainerdMounts(result.mounts, target: target).text
        case .fstab:
            try inFile { mount, target throws(MountLine.Failure) in
                try FstabLine(mount, form: .ofThisKernel, target: target).text
            }
        case .systemd: try systemdUnit()
        case .mstack:
            try inFile { mount, target throws(MountLine.Failure) in
                try MountStackScript(mount, target: target).text
            }
        case .path: paths()
        }
    }

    /// A script whose argument is the target, unless that is known.
    private func shellScript() throws -> String {
        let place = target.map { "target=\($0.string)" } ?? #"target=${1:?usage: sh SCRIPT DIR}"#
        let performed = try store.performedMount(of: writableKey ?? result.chainID.description)
        let lines = try result.mounts.map { mount in
            try attempt { try MountLine(mount, form: .ofThisKernel, target: nil, performed: []).words }
        }
        // What mount(8) cannot do is performed whole.
        let calls = lines.contains([]) ? [performed] : lines
        return
            (["#!/bin/sh", "# \(title)", "set -e", place]
            + calls.map { $0.joined(separator: " ") + #" "$target""# }).joined(separator: "\n")
    }

    private func systemdUnit() throws -> String {
        guard result.mounts.count == 1 else {
            throw UnpackError(
                .usage, "several mounts on one directory are no unit", hint: "choose --format shell")
        }
        let root = try store.rootPath()
        return try inFile { mount, target throws(MountLine.Failure) in
            try SystemdMountUnit(
                mount, form: .ofThisKernel, target: target, description: title, store: root
            ).text
        }
    }

    /// What it is, on one line.
    private var title: String {
        let name = result.reference.map { escaped($0.utf8) + ", " } ?? ""
        return "Root file system of \(name)\(result.image.descriptor.digest)"
    }

    private func inFile(_ text: (Mount, FilePath) throws(MountLine.Failure) -> String) throws -> String {
        guard let target else {
            throw UnpackError(.usage, "it needs to know where", hint: "add --target DIR")
        }
        return try result.mounts.map { mount in try attempt { try text(mount, target) } }.joined(
            separator: "\n")
    }

    /// One line of words that a shell needs no quotes for.
    private func mountLine() throws -> String {
        // A chain ID has one colon, which is nothing special to a shell.
        let performed = try store.performedMount(of: writableKey ?? result.chainID.description)
        return try attempt {
            try MountLine(result.mounts, form: .ofThisKernel, target: target, performed: performed).text
        }
    }

    /// Topmost first, like `lowerdir`.
    private func paths() -> String { result.layers.reversed().map(\.path.string).joined(separator: "\n") }

    private func json() throws -> String {
        let document = ResultDocument(
            image: .init(
                name: result.reference, digest: result.image.descriptor.digest,
                mediaType: result.image.descriptor.mediaType),
            platform: result.platform.description, snapshotter: try store.snapshotterName,
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
