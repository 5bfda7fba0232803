import Foundation
import OCI
import SystemPackage
import TestSupport
import Testing

struct InspectTests {
    private func inspect(_ arguments: String...) throws -> Command {
        try Command.run([Program.path.string, "inspect"] + arguments)
    }

    @Test("Every platform of an index is shown as an image, and an attestation as an attestation")
    func platforms() throws {
        let text = try inspect("\(Program.fixtures)/multi").succeed().text
        #expect(text.contains("multi:1.0  linux/amd64\n"))
        #expect(text.contains("multi:1.0  linux/arm64\n"))
        #expect(!text.contains("unknown") && text.contains("└─ attestation  sha256:127ee43d"))
        let chosen = try inspect("\(Program.fixtures)/multi", "--platform", "linux/arm64/v8").succeed().text
        #expect(
            !chosen.contains("amd64") && !chosen.contains("attestation") && chosen.contains("linux/arm64"))
    }

    @Test("The JSON has the digests, diff IDs and chain IDs of the documents")
    func json() throws {
        let text = try inspect("\(Program.fixtures)/busybox", "--json").succeed().text
        let json = try #require(try JSONSerialization.jsonObject(with: Data(text.utf8)) as? [String: Any])
        let images = try #require(json["images"] as? [[String: Any]])
        #expect(images.count == 1)
        #expect(images[0]["names"] as? [String] == ["busybox:1.0"])
        let layers = try #require(images[0]["layers"] as? [[String: Any]])
        #expect(layers.count == 5)
        // The lowest chain ID is the lowest diff ID (image spec, config.md).
        #expect(layers[0]["chainID"] as? String == layers[0]["diffID"] as? String)
        #expect(layers[4]["chainID"] as? String == images[0]["chainID"] as? String)
        #expect(layers.allSatisfy { $0["present"] as? Bool == true })
    }

    @Test("Images that are too large to show together are refused, and each of them alone is shown")
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

    @Test("A layout that git checked out without symlinks is read like one with symlinks")
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
            // Without the first line, which names the layout.
            try inspect(scratch.path.appending(kind).string).succeed().text.drop { $0 != "\n" }
        }
        #expect(texts[0] == texts[1])
    }

    // MARK: Other documents

    @Test("Artifacts, absent manifests and nested indexes are shown where they are listed, each index once")
    func outline() throws {
        let scratch = try TemporaryDirectory()
        let builder = try ImageBuilder(at: scratch.path.appending("layout"))
        let image = try builder.image([LayerBuilder(.file("a"))])
        let artifact = try builder.manifest(
            try builder.blob(Array("{}".utf8), MediaType(rawValue: "application/vnd.example.chart\u{1B}")), []
        )
        let absent = try builder.manifest(try builder.blob(Array("[]".utf8), .ociConfig), [])
        try builder.removeBlob(absent)
        let inner = try builder.index([image, artifact])
        let lost = try builder.index([absent])
        try builder.removeBlob(lost)
        try builder.writeIndex([inner.named("one"), inner.named("two"), lost, absent])
        let lines = try inspect(builder.path.string).succeed().text.split(separator: "\n").map(String.init)
        let tops = lines.filter { $0.hasPrefix("├─ ") || $0.hasPrefix("└─ ") }
        let expected = [
            "├─ one  index  \(inner.digest)", "├─ two  index, as above  \(inner.digest)",
            "├─ index, not in this layout  \(lost.digest)",
            "└─ manifest, not in this layout  \(absent.digest)",
        ]
        #expect(tops == expected)
        #expect(lines.contains(#"│  └─ artifact application/vnd.example.chart\x1b  \#(artifact.digest)"#))
        let json = try #require(
            try JSONSerialization.jsonObject(
                with: Data(inspect(builder.path.string, "--json").succeed().output))
                as? [String: Any])
        let others = try #require(json["others"] as? [[String: Any]])
        #expect(others.map { $0["kind"] as? String } == ["artifact", "index", "manifest"])
    }

    // MARK: The store and the terminal

    @Test(
        "Layers in the store are marked as unpacked, and inspect creates no store",
        .enabled(if: TestEnvironment.canMountOverlay, "needs root and overlay mounts"))
    func store() throws {
        let program = try Program()
        let image = "\(Program.fixtures)/busybox"
        func layers() throws -> (image: [String: Any], store: [String: Any]) {
            let text = try program.run("inspect", image, "--json").succeed().output
            let json = try #require(try JSONSerialization.jsonObject(with: Data(text)) as? [String: Any])
            return (
                try #require((json["images"] as? [[String: Any]])?.first),
                try #require(json["store"] as? [String: Any])
            )
        }
        let before = try layers()
        #expect(before.image["unpacked"] as? Bool == false && before.store["present"] as? Bool == false)
        #expect(!FileManager.default.fileExists(atPath: program.root.string))
        #expect(try program.run("inspect", image).succeed().text.contains("(no store in \(program.root))\n"))
        try program.run(image, "-q").succeed()
        let after = try layers()
        #expect(after.image["unpacked"] as? Bool == true && after.store["present"] as? Bool == true)
        let states = try #require(after.image["layers"] as? [[String: Any]]).map { $0["unpacked"] as? Bool }
        #expect(states == [true, true, true, true, true])
        #expect(
            try program.run("inspect", image).succeed().text.contains("2. 2.0 kB  gzip  unpacked  sha256:"))
    }

    @Test(
        "An unreadable store is reported, and the image is shown",
        .enabled(
            if: TestEnvironment.canMountOverlay && TestEnvironment.has("setpriv"), "needs root and setpriv"))
    func forbidden() throws {
        // The program and the image are copied to a directory that every user can read.
        let scratch = try TemporaryDirectory(in: "/tmp")
        try Command.run("chmod", "755", scratch.path.string).succeed()
        for source in [Program.path.string, "\(Program.fixtures)/busybox"] {
            try Command.run("cp", "-r", source, scratch.path.string).succeed()
        }
        try Command.run(
            "sh", "-ec", #"cd "$0"; chmod -R a+rX .; mkdir -m 700 s; touch s/metadata.db"#,
            scratch.path.string
        )
        .succeed()
        let script =
            #"cd "$0"; exec setpriv --reuid 65534 --regid 65534 --clear-groups ./unpack inspect busybox --root "$0/s""#
        let text = try Command.run("sh", "-ec", script, scratch.path.string).succeed().text
        #expect(text.hasPrefix("busybox  (store \(scratch.path)/s cannot be read: not permitted)\n"))
        #expect(text.contains("busybox:1.0  linux/amd64\n") && !text.contains("unpacked"))
    }

    @Test(
        "On a terminal lines are cut to its width, and documents other than images are faint",
        .enabled(if: TestEnvironment.has("script"), "no script(1)"))
    func terminal() throws {
        let image = "\(Program.fixtures)/multi"
        func shown(_ environment: String) throws -> [String] {
            let command =
                "stty cols 60; exec \(environment) \(Program.path.string) inspect \(image) --root /nowhere"
            let text = try Command.run("script", "-qec", command, "/dev/null").succeed().text
            return text.split(whereSeparator: \.isNewline).map(String.init)
        }
        let lines = try shown("env -u NO_COLOR")
        let isFaint = lines.contains {
            $0.hasPrefix("\u{1B}[2m   └─ attestation") && $0.hasSuffix("…\u{1B}[0m")
        }
        #expect(isFaint, "\(lines)")
        let plain = try shown("env NO_COLOR=1")
        #expect(plain.allSatisfy { $0.count <= 60 } && plain.contains { $0.count == 60 && $0.hasSuffix("…") })
        #expect(plain.allSatisfy { !$0.contains("\u{1B}") })
    }

    @Test(
        "Help and version exit with 0 and go to stdout",
        arguments: [["--help"], ["--version"], ["mount", "--help"]])
    func help(arguments: [String]) throws {
        let result = try Command.run([Program.path.string] + arguments)
        #expect(result.status == 0)
        #expect(result.text.contains("unpack"))
    }
}
