import Foundation
package import OCI
import SystemPackage

/// An image as one tar, with its members in any order and any errors that a test chooses.
extension ImageBuilder {
    /// All files of the layout, sorted by name as most tools write them.
    package func members() throws -> [TarEntry] {
        let folder = path.string
        let names = try FileManager.default.subpathsOfDirectory(atPath: folder).sorted()
        return try names.map { name in
            var isFolder: ObjCBool = false
            _ = FileManager.default.fileExists(atPath: "\(folder)/\(name)", isDirectory: &isFolder)
            if isFolder.boolValue { return .directory(Bytes(name + "/")) }
            return .file(Bytes(name), Bytes(try Data(contentsOf: URL(fileURLWithPath: "\(folder)/\(name)"))))
        }
    }
}

/// Builds one image of a docker-archive.
package struct DockerArchiveBuilder: Sendable {
    package var names: [String]
    package var layers: [LayerBuilder]
    package var packing: Packing
    package var platform = Platform.host

    package init(_ names: [String], _ layers: [LayerBuilder], _ packing: Packing = .none) {
        self.names = names
        self.layers = layers
        self.packing = packing
    }

    private var config: [UInt8] {
        let list = layers.map { "\"\($0.diffID)\"" }.joined(separator: ",")
        return Array(
            """
            {"os": "\(platform.os)", "architecture": "\(platform.architecture)",
             "rootfs": {"type": "layers", "diff_ids": [\(list)]}}
            """.utf8)
    }

    package var configName: String { sha256(of: config).hex + ".json" }

    /// Names of the layers as Docker wrote them before version 25: one directory per layer.
    package var layerNames: [String] { layers.indices.map { "\(names.first ?? "none")-\($0)/layer.tar" } }

    /// The config and the layers.
    package var members: [TarEntry] {
        [.file(Bytes(configName), Bytes(config))]
            + zip(layerNames, layers).map { .file(Bytes($0), Bytes(packing.pack($1.tar))) }
    }

    /// `manifest.json`.
    ///
    /// - Parameter layerNames: per image, to share layers between images; nil for the own names of each image.
    package static func manifest(_ images: [DockerArchiveBuilder], layerNames: [[String]]? = nil) throws
        -> TarEntry
    {
        let items = images.enumerated().map { number, image in
            [
                "Config": image.configName, "RepoTags": image.names,
                "Layers": layerNames?[number] ?? image.layerNames,
            ] as [String: Any]
        }
        return .file("manifest.json", Bytes(try JSONSerialization.data(withJSONObject: items)))
    }
}
