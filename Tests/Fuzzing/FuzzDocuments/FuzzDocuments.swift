import Foundation
import Fuzzing
import OCI

/// Parses the input as each of the documents. An accepted document must keep its meaning when it is encoded and
/// parsed again; a rejection must have a printable reason.
@c(LLVMFuzzerTestOneInput) public func test(_ data: UnsafePointer<UInt8>?, _ size: Int) -> CInt {
    let bytes = Array(UnsafeBufferPointer(start: data, count: size))
    let index = check(bytes, ImageIndex.init(parsing:)) { $0.manifests.map(\.digest) }
    let manifest = check(bytes, ImageManifest.init(parsing:)) { [$0.config.digest] + $0.layers.map(\.digest) }
    insist(index == nil || manifest == nil, "an index and a manifest at the same time")
    let config = check(bytes, ImageConfig.init(parsing:)) { $0.rootfs.diffIDs.map(\.digest) }
    _ = check(bytes, LayoutMarker.init(parsing:)) { $0.imageLayoutVersion }
    for descriptor in (index?.manifests ?? []) + (manifest?.layers ?? []) {
        insist(descriptor.size >= 0, "a size of \(descriptor.size)")
        _ = (descriptor.isAttestation, descriptor.referenceNames)
        // The store parses platforms from their text form.
        if let platform = descriptor.platform {
            insist((try? Platform(parsing: "\(platform)")) != nil, "\(platform)")
        }
    }
    // The input may be valid as both, although no real document is.
    if let manifest, let config, let steps = try? LayerStep.plan(manifest, config) {
        insist(steps.count == max(manifest.layers.count, 1), "\(steps.count) steps")
    }
    return 0
}

private func check<Document: Codable>(
    _ bytes: [UInt8], _ parse: ([UInt8]) throws(DocumentError) -> Document,
    meaning: (Document) -> some Equatable
) -> Document? {
    let document: Document
    do throws(DocumentError) {
        document = try parse(bytes)
    } catch {
        let text = "\(error)"
        let isPrintable = text.unicodeScalars.allSatisfy { $0.properties.generalCategory != .control }
        insist(!text.isEmpty && isPrintable, "rejected with '\(text)'")
        return nil
    }
    do {
        let again = try parse(Array(try JSONEncoder().encode(document)))
        insist(meaning(again) == meaning(document), "it changes when it is encoded and parsed again")
    } catch {
        fatalError("it cannot be parsed again after encoding: \(error)")  // libFuzzer needs a trap
    }
    return document
}

@c(LLVMFuzzerInitialize) public func initialize(
    _ count: UnsafeMutablePointer<CInt>?,
    _ arguments: UnsafeMutablePointer<UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>?>?
) -> CInt {
    let digest = "sha256:\(String(repeating: "ab", count: 32))"
    let long = "sha512:\(String(repeating: "cd", count: 64))"
    let platform =
        #"{"os": "linux", "architecture": "arm", "variant": "v7", "os.version": "1", "os.features": ["x"]}"#
    func descriptor(_ type: String) -> String {
        #"{"mediaType": "\#(type)", "digest": "\#(digest)", "size": 7, "platform": \#(platform), "artifactType": "x", "#
            + #""annotations": {"org.opencontainers.image.ref.name": "r", "io.containerd.image.name": "n/r", "#
            + #""vnd.docker.reference.type": "attestation-manifest"}}"#
    }
    let layer = descriptor("application/vnd.oci.image.layer.v1.tar+gzip")
    let config = descriptor("application/vnd.oci.image.config.v1+json")
    writeSeeds(
        [
            #"{"imageLayoutVersion": "1.0.0"}"#,
            #"{"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": [\#(layer)]}"#,
            #"{"manifests": null}"#, #"{"Manifests": null, "MEDIATYPE": null}"#,
            #"[{"config": "c.json", "repoTags": ["a:b"], "Layers": ["l.tar"]}]"#,
            #"{"schemaVersion": 2, "config": \#(config), "layers": [\#(layer), \#(layer)]}"#,
            #"{"mediaType": "application/vnd.docker.distribution.manifest.v2+json", "config": \#(config), "layers": []}"#,
            #"""
            {"os": "linux", "architecture": "amd64", "created": "2024-01-01T00:00:00Z",
             "config": {"Cmd": ["sh", "\u00e9\n"], "Big": 1e300, "Small": -3, "Flag": true, "None": null},
             "rootfs": {"type": "layers", "diff_ids": ["\#(digest)", "\#(long)"]},
             "history": [{"created_by": "a", "comment": "c"}, {"created_by": "b", "empty_layer": true}]}
            """#,
        ].map { Array($0.utf8) })
    return 0
}
