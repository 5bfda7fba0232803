import OCI
import TestSupport
import Testing

@Suite("The plan of layer steps") struct LayerStepTests {
    private func plan(layers: [MediaType], diffIDs: Int) throws -> [LayerStep] {
        func digest(_ number: Int) -> Digest { sha256(of: [UInt8(truncatingIfNeeded: number)]) }
        func json(_ type: String, _ number: Int) -> String {
            #"{"mediaType": "\#(type)", "digest": "\#(digest(number))", "size": \#(number)}"#
        }
        let config = json(MediaType.ociConfig.rawValue, 99)
        let list = layers.enumerated().map { json($1.rawValue, $0) }.joined(separator: ",")
        let ids = (0..<diffIDs).map { "\"\(digest($0 + 50))\"" }.joined(separator: ",")
        return try LayerStep.plan(
            ImageManifest(parsing: Array(#"{"config": \#(config), "layers": [\#(list)]}"#.utf8)),
            ImageConfig(parsing: Array(#"{"rootfs": {"type": "layers", "diff_ids": [\#(ids)]}}"#.utf8)))
    }

    @Test("Each step has the chain ID of the step before as its parent")
    func steps() throws {
        let types = [Packing.gzip, .zstd, .none].map(\.mediaType)
        let steps = try plan(layers: types, diffIDs: 3)
        #expect(steps.map(\.number) == [1, 2, 3])
        #expect(steps.map(\.count) == [3, 3, 3])
        #expect(steps.map(\.descriptor.mediaType) == types)
        #expect(steps.map(\.parent) == [nil, steps[0].chainID, steps[1].chainID])
        #expect(steps[0].chainID.digest == steps[0].diffID.digest)
        #expect(steps[1].chainID == ChainID(of: steps[1].diffID, on: steps[0].chainID))
        #expect(steps[1].name == "layer 2 of 3 (\(steps[1].descriptor.digest.short))")
    }

    /// The digest of Docker's empty layer, uncompressed.
    @Test("An image without layers has one step for the empty layer")
    func noLayers() throws {
        let steps = try plan(layers: [], diffIDs: 0)
        let empty = "sha256:5f70bf18a086007016e948b04aed3b82103a36bea41755b6cddfaf10ace3c6ef"
        #expect(steps.map(\.diffID.description) == [empty] && steps.map(\.chainID.description) == [empty])
        #expect(steps.map(\.descriptor.digest.description) == [empty])
        #expect(steps.first?.descriptor.data?.bytes == [UInt8](repeating: 0, count: 1024))
        #expect(throws: DocumentError.self) { try plan(layers: [], diffIDs: 1) }
    }

    @Test(
        "Every layer media type of OCI and Docker is accepted",
        arguments: [
            "application/vnd.oci.image.layer.v1.tar", "application/vnd.oci.image.layer.v1.tar+gzip",
            "application/vnd.oci.image.layer.v1.tar+zstd",
            "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip",
            "application/vnd.docker.image.rootfs.diff.tar",
            "application/vnd.docker.image.rootfs.diff.tar.gzip",
            "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
        ])
    func knownType(type: String) throws {
        #expect(try plan(layers: [MediaType(rawValue: type)], diffIDs: 1).count == 1)
    }

    @Test(
        "An image that cannot be unpacked is rejected when it is planned",
        arguments: [
            ([Packing.gzip.mediaType], 2, "the manifest has 1 layers, the config 2 diff IDs"),
            (
                [Packing.gzip.mediaType, Packing.gzip.mediaType], 1,
                "the manifest has 2 layers, the config 1 diff IDs"
            ),
            (
                Array(repeating: Packing.gzip.mediaType, count: 501), 501,
                "the image has 501 layers, and overlay mounts at most 500: rebuild it with fewer"
            ),
            (
                [MediaType(rawValue: "application/vnd.in-toto+json")], 1,
                "layer 1 has the unknown media type 'application/vnd.in-toto+json'"
            ),
            ([MediaType(rawValue: "")], 1, "layer 1 has the unknown media type ''"),
        ])
    func refuses(layers: [MediaType], diffIDs: Int, reason: String) {
        #expect(throws: DocumentError(reason)) { try plan(layers: layers, diffIDs: diffIDs) }
    }
}
