internal import FoundationEssentials
internal import Kernel
internal import Mounts
internal import OCI
internal import Programs
internal import SystemPackage
internal import Unpacking

/// Formats a result as `--format` requests.
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
                try MstackScript(mount, target: target).text
            }
        case .path: try paths()
        }
    }

    /// A shell script. Its argument is the target, unless `--target` is given.
    private func shellScript() throws -> String {
        let place = try target.map { target in try attempt { try ShellWord(plain: target.string).text } }
        let performed = try performedMount()
        let parts = result.mounts.flatMap(\.parts)
        let calls = try attempt {
            let lines = try parts.map { mount, own in
                (
                    words: try MountLine(mount, form: .ofThisKernel, target: nil, performed: []).words,
                    place: try own.map { try ShellWord(plain: $0.string).text }
                )
            }
            // If mount(8) cannot perform one of the mounts, `unpack mount` performs all of them.
            if lines.contains(where: \.words.isEmpty) {
                return [try performed.words.command + #" "$target""#]
            }
            return lines.flatMap { words, place in
                guard let place else { return [words.command + #" "$target""#] }
                return ["\(words.command) \(place)", #"mounted="\#(place) $mounted""#]
            }
        }
        let hasOwnPlaces = calls.count > parts.count
        return
            (["#!/bin/sh", "# \(title)", "set -e", "target=" + (place ?? "${1:?usage: sh SCRIPT DIR}")]
            + (hasOwnPlaces ? Self.unmounting : []) + calls).joined(separator: "\n")
    }

    /// Unmounts what is not mounted on the target, at the end of a script: an overlay keeps its layers mounted by itself.
    private static let unmounting = [
        "# The overlay keeps its layers mounted: 'umount DIR' ends all of it.",
        "mounted=", #"trap 'for place in $mounted; do umount "$place"; done' EXIT"#,
    ]

    private func performedMount() throws -> PerformedMount {
        try store.performedMount(of: writableKey ?? result.chainID.description)
    }

    private func systemdUnit() throws -> String {
        guard result.mounts.count == 1 else {
            throw UnpackError(
                .usage, "a systemd unit cannot have several mounts", hint: "choose --format shell")
        }
        let root = try store.rootPath()
        return try inFile { mount, target throws(MountLine.Failure) in
            try SystemdMountUnit(
                mount, form: .ofThisKernel, target: target, description: title, store: root
            ).text
        }
    }

    /// A description on one line, so that it can stand in a comment.
    private var title: String {
        let name = result.reference.map { escaped($0.utf8) + ", " } ?? ""
        return "Root file system of \(name)\(result.image.descriptor.digest)"
    }

    private func inFile(_ text: (Mount, FilePath) throws(MountLine.Failure) -> String) throws -> String {
        guard let target else {
            throw UnpackError(.usage, "this format needs a target", hint: "add --target DIR")
        }
        return try result.mounts.map { mount in try attempt { try text(mount, target) } }.joined(
            separator: "\n")
    }

    /// One command line, of words that a shell takes without quotes.
    private func mountLine() throws -> String {
        let performed = try performedMount()
        return try attempt {
            try MountLine(
                result.mounts, form: .ofThisKernel, target: target, performed: try performed.words
            ).text
        }
    }

    /// Topmost first, like `lowerdir`.
    private func paths() throws -> String {
        try result.layers.reversed().map { try Self.line($0.path) }.joined(separator: "\n")
    }

    /// A path as a line of its own, for a program that reads lines. It is not escaped.
    ///
    /// - Throws: `.usage` for a path with a line break or another character that needs escaping, or that is not UTF-8.
    static func line(_ path: FilePath) throws -> String {
        guard printable(path.string) == path.string, FilePath(path.string) == path else {
            throw UnpackError(
                .usage,
                "'\(escaped(path))' cannot be part of a list of paths: it contains control characters, or is not UTF-8",
                hint: "use another --root, or --format json")
        }
        return path.string
    }

    private func json() throws -> String {
        let document = ResultDocument(
            image: .init(
                name: result.reference, digest: result.image.descriptor.digest,
                mediaType: result.image.descriptor.mediaType),
            platform: result.platform.description, snapshotter: try store.snapshotterName,
            chainID: result.chainID,
            readonly: result.mounts.allSatisfy(\.isReadOnly),
            mounts: MountDocument.all(result.mounts, target: target),
            layers: result.layers.map { layer in
                .init(
                    digest: layer.step.descriptor.digest, diffID: layer.step.diffID,
                    chainID: layer.step.chainID,
                    path: layer.path.string, size: layer.step.descriptor.size, cached: layer.isCached)
            },
            warnings: result.warnings, config: result.image.config.runtimeSettings)
        return try attempt { try encoded(document) }
    }
}

/// The document that `--format json` prints.
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
