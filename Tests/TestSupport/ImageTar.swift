import Foundation
package import OCI
import SystemPackage

/// An image as one tar, its members in any order and as wrong as a test wants them.
extension ImageBuilder {
    /// Every file of the layout, by name: the order in which most tools write them.
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

/// One image of a docker-archive in code.
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

    /// As Docker wrote them before version 25: a folder a layer.
    package var layerNames: [String] { layers.indices.map { "\(names.first ?? "none")-\($0)/layer.tar" } }

    /// Config and layers.
    package var members: [TarEntry] {
        [.file(Bytes(configName), Bytes(config))]
            + zip(layerNames, layers).map { .file(Bytes($0), Bytes(packing.pack($1.tar))) }
    }

    /// `manifest.json`.
    ///
    /// - Parameter layerNames: by image, where not each image has its own.
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
