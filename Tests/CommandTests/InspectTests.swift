import Foundation
import OCI
import SystemPackage
import TestSupport
import Testing

struct InspectTests {
    private func inspect(_ arguments: String...) throws -> Command {
        try Command.run([Program.path.string, "inspect"] + arguments)
    }

    @Test("Every platform of an index is shown, an attestation is not")
    func platforms() throws {
        let text = try inspect("\(Program.fixtures)/multi").succeed().text
        #expect(text.contains("multi:1.0  linux/amd64\n"))
        #expect(text.contains("multi:1.0  linux/arm64\n"))
        #expect(!text.contains("unknown"))
        let chosen = try inspect("\(Program.fixtures)/multi", "--platform", "linux/arm64/v8").succeed().text
        #expect(!chosen.contains("amd64") && chosen.contains("linux/arm64"))
    }

    @Test("The JSON has what the documents say: digests, diff IDs and chain IDs")
    func json() throws {
        let text = try inspect("\(Program.fixtures)/busybox", "--json").succeed().text
        let json = try #require(try JSONSerialization.jsonObject(with: Data(text.utf8)) as? [String: Any])
        let images = try #require(json["images"] as? [[String: Any]])
        #expect(images.count == 1)
        #expect(images[0]["references"] as? [String] == ["busybox:1.0"])
        let layers = try #require(images[0]["layers"] as? [[String: Any]])
        #expect(layers.count == 5)
        // The lowest chain ID is the lowest diff ID (image spec, config.md).
        #expect(layers[0]["chainID"] as? String == layers[0]["diffID"] as? String)
        #expect(layers[4]["chainID"] as? String == images[0]["chainID"] as? String)
        #expect(layers.allSatisfy { $0["present"] as? Bool == true })
    }

    @Test("Images that are too much at once are refused, each alone is shown")
    func tooMuch() throws {
        let scratch = try TemporaryDirectory()
        let builder = try ImageBuilder(at: scratch.path.appending("layout"))
        let layer = LayerBuilder(.file("a"))
        let config = """
            {"os": "linux", "architecture": "amd64", "config": ["\(String(repeating: "x", count: 4_000_000))"],
             "rootfs": {"type": "layers", "diff_ids": ["\(layer.diffID)"]}}
            """
        let image = try builder.manifest(
            try builder.blob(Array(config.utf8), .ociConfig), [try builder.layer(layer)])
        try builder.writeIndex((1...9).map { image.named("image-\($0)") })
        let refused = try inspect(builder.path.string)
        #expect(refused.status == 64)
        #expect(refused.text == "")
        #expect(
            refused.errorText.hasPrefix("unpack: the layout has 9 images, too much to show at once\nhint: "))
        let shown = try inspect(builder.path.string, "--json", "--ref", "image-9").succeed().text
        #expect(shown.utf8.count > 4_000_000)
    }

    @Test("A layout that git checked out without symlinks is read like one with them")
    func linksAsText() throws {
        let scratch = try TemporaryDirectory()
        for kind in ["links", "texts"] {
            let copy = scratch.path.appending(kind).string
            try Command.run("cp", "-r", "\(Program.fixtures)/multi", copy).succeed()
            let script = """
                cd "$0/blobs/sha256"; for blob in *; do mv "$blob" "../../$blob.blob"
                [ "$1" = links ] && ln -s "../../$blob.blob" "$blob" || printf %s "../../$blob.blob" >"$blob"; done
                """
            try Command.run("sh", "-ec", script, copy, kind).succeed()
        }
        let texts = try ["links", "texts"].map { kind in
            try inspect(scratch.path.appending(kind).string).succeed().text
        }
        #expect(texts[0] == texts[1])
    }

    @Test(
        "Help and version end with 0 and go to stdout",
        arguments: [["--help"], ["--version"], ["mount", "--help"], []])
    func help(arguments: [String]) throws {
        let result = try Command.run([Program.path.string] + arguments)
        #expect(result.status == 0)
        #expect(result.text.contains("unpack"))
    }
}
