import Foundation
import Kernel
import OCI
import SystemPackage
import TestSupport
import Testing

@Suite("Selecting an image", .enabled(if: TestEnvironment.canMountOverlay, "needs root and overlay mounts"))
struct ImageChoiceTests {
    private let program: Program
    private let builder: ImageBuilder

    init() throws {
        program = try Program()
        builder = try ImageBuilder(at: program.scratch.path.appending("i"))
    }

    private var layout: String { builder.path.string }

    private func json(_ arguments: String...) throws -> [String: Any] {
        let output = try program.run(arguments).succeed().output
        return try #require(try JSONSerialization.jsonObject(with: Data(output)) as? [String: Any])
    }

    // MARK: Unreadable images

    @Test(
        "Unreadable images do not affect the others, and are listed with their errors"
    )
    func siblings() throws {
        let good = try builder.image([LayerBuilder(.file("a"))])
        func damaged(_ name: String) throws -> Descriptor {
            let layer = LayerBuilder(.file(Bytes(name)))
            let config = try builder.config(.host, [layer.diffID])
            let image = try builder.manifest(config, [try builder.layer(layer)])
            try builder.damageBlob(config) { $0[$0.count - 2] ^= 1 }
            return image
        }
        let unknown = try damaged("unknown")
        let known = try damaged("known").on(.host)
        let index = try builder.index([unknown])
        try builder.damageBlob(index) { $0[$0.count - 2] ^= 1 }
        try builder.writeIndex([
            unknown.named("unknown"), good.named("good"), known.named("known"), index.named("index"),
        ])
        for way in [":good", "@1", "@\(good.digest)"] {
            #expect(try program.run("ls", layout + way).succeed().text.hasSuffix(" a\n"))
            #expect(try program.run(layout + way, "-q").status == 0)
            #expect(try program.run("inspect", layout + way).succeed().text.contains("good  "))
        }
        let text = try program.run("inspect", layout).succeed().text
        #expect(
            text.contains("├─ unknown  manifest, cannot be read (the blob's digest is sha256:"), "\(text)")
        #expect(
            text.contains("├─ known  \(Platform.host)  cannot be read (the blob's digest is sha256:"),
            "\(text)")
        #expect(text.contains("└─ index  index, cannot be read (the blob's digest is sha256:"), "\(text)")
        let document = try json("inspect", layout, "--json")
        let images = try #require(document["images"] as? [[String: Any]])
        #expect(images.map { ($0["names"] as? [String])?.first } == ["good", "known"])
        #expect(images.map { $0["error"] == nil } == [true, false])
        let others = try #require(document["others"] as? [[String: Any]])
        #expect(others.map { $0["kind"] as? String } == ["manifest", "index"])
        #expect(others.allSatisfy { ($0["error"] as? String)?.hasPrefix("the blob's digest is ") == true })
        // Without a name the choice is ambiguous, and the list has the errors.
        let unnamed = try program.run(layout)
        #expect(unnamed.status == 64)
        #expect(unnamed.errorText.contains("unknown  cannot be read (the blob's digest is sha256:"))
        for name in ["unknown", "known", "index"] {
            #expect(try program.run("inspect", "\(layout):\(name)").status == 65)
        }
    }

    @Test("A missing manifest is named by its digest")
    func missingManifest() throws {
        let good = try builder.image([LayerBuilder(.file("a"))])
        let missing = try builder.image([LayerBuilder(.file("b"))])
        try builder.removeBlob(missing)
        try builder.writeIndex([good.named("good"), missing.named("missing")])
        for command in [
            ["\(layout):missing"], ["ls", "\(layout)@1"], ["inspect", "\(layout)@\(missing.digest)"],
        ] {
            let run = try program.run(command)
            #expect(run.status == 66)
            #expect(
                run.errorText.hasPrefix("unpack: the blob \(missing.digest) is missing from the layout\n"))
        }
        #expect(try program.run(layout, "-q").status == 0)
    }

    // MARK: Several candidates

    @Test(
        "Candidates are listed with the version and the features of their operating system, which --platform accepts"
    )
    func operatingSystems() throws {
        func platform(_ version: String?, _ features: [String]) -> Platform {
            Platform(
                os: "linux", architecture: Platform.host.architecture, osVersion: version,
                osFeatures: features)
        }
        let platforms = [platform("5.10", []), platform("6.1", []), platform(nil, ["erofs"])]
        try builder.writeIndex(
            try platforms.enumerated().map {
                try builder.image([LayerBuilder(.file(Bytes("f\($0)")))]).on($1)
            })
        let refused = try program.run(layout)
        #expect(refused.status == 64 && refused.errorText.hasPrefix("unpack: 2 images match:\n"))
        for platform in platforms[..<2] { #expect(refused.errorText.contains("  \(platform)  sha256:")) }
        for (number, platform) in platforms.enumerated() {
            let listed = try program.run("ls", layout, "--platform", "\(platform)").succeed().text
            #expect(listed.hasSuffix(" f\(number)\n"))
        }
        // The store records the requested platform, and the second run finds the image.
        let runs = try (0..<2).map { _ in try program.line(layout, "--platform", "\(platforms[0])") }
        #expect(runs[0] == runs[1])
    }

    @Test("The same image with two compressions of its layers is one candidate")
    func twins() throws {
        let layer = LayerBuilder(.file("a"))
        try builder.writeIndex(
            try [Packing.zstd, .gzip].map { try builder.image([layer], packing: $0).on(.host).named("x") })
        #expect(try program.run(layout, "-q").status == 0)
        #expect(try program.run("ls", "\(layout):x").succeed().text.hasSuffix(" a\n"))
    }

    @Test("An image without a platform is unpacked, and found again")
    func anyPlatform() throws {
        let layer = LayerBuilder(.file("a"))
        let bare = try builder.manifest(
            try builder.config(.unspecified, [layer.diffID]), [try builder.layer(layer)])
        try builder.writeIndex([bare.on(.unspecified).named("bare")])
        let lines = try (0..<2).map { _ in try program.line(layout) }
        #expect(lines[0] == lines[1])
        #expect(try program.run("images").succeed().text.contains(" any/any "))
        try program.run("rm", "bare").succeed()
    }

    /// A slash and a combining mark after it are one `Character`. If a recorded platform were split by characters, no
    /// image of the store could be read.
    @Test("A platform with unusual characters does not make a store unreadable")
    func strangePlatform() throws {
        let layer = LayerBuilder(.file("a"))
        let config =
            #"{"os": "linux", "architecture": "\#u{301}x", "rootfs": {"type": "layers", "diff_ids": ["\#(layer.diffID)"]}}"#
        let image = try builder.manifest(
            try builder.blob(Array(config.utf8), .ociConfig), [try builder.layer(layer)])
        try builder.writeIndex([image.on(.host).named("strange")])
        #expect(try program.run(layout, "-q").status == 0)
        #expect(try program.run("images").succeed().text.contains("strange"))
        try program.run("rm", "strange").succeed()
    }

    // MARK: Names

    @Test("An image is recorded under the name that selected it")
    func recordedName() throws {
        let index = try builder.index([try builder.image([LayerBuilder(.file("a"))]).on(.host)])
        try builder.writeIndex([index.named("first"), index.named("second")])
        for way in [":second", "@1"] {
            #expect(try program.run(layout + way, "-q").status == 0)
            #expect(try program.rows("SELECT name FROM image_name") == "second\n")
            let document = try json(layout + way, "--format", "json")
            #expect((document["image"] as? [String: Any])?["name"] as? String == "second")
            try program.run("verify", "second").succeed()
            try program.run("rm", "second").succeed()
        }
        #expect(try program.run(layout + ":first", "-q").status == 0)
        try program.run("rm", "first").succeed()
    }

    // MARK: History

    @Test("History steps that do not match the layers are attributed to none, and shown separately")
    func history() throws {
        let layers = [LayerBuilder(.file("a")), LayerBuilder(.file("b"))]
        func write(_ steps: [String]) throws {
            let list = steps.map { #"{"created_by": "\#($0)"}"# }.joined(separator: ",")
            let ids = layers.map { "\"\($0.diffID)\"" }.joined(separator: ",")
            let config =
                #"{"os": "linux", "architecture": "\#(Platform.host.architecture)", "history": [\#(list), {"created_by": "env", "empty_layer": true}], "rootfs": {"type": "layers", "diff_ids": [\#(ids)]}}"#
            try builder.writeIndex([
                try builder.manifest(
                    try builder.blob(Array(config.utf8), .ociConfig), try layers.map { try builder.layer($0) }
                )
            ])
        }
        try write(["one", "two"])
        #expect(try program.run("inspect", layout).succeed().text.contains("made by   two\n"))
        #expect(try program.run("why", layout, "/a").succeed().text.contains("made by  one\n"))
        #expect(try !program.run("inspect", layout).succeed().text.contains("history"))
        for steps in [["one"], ["one", "two", "three"]] {
            try write(steps)
            let text = try program.run("inspect", layout).succeed().text
            #expect(!text.contains("made by"))
            #expect(
                text.contains("history, whose steps do not match the layers\n") && text.contains("─ one\n"))
            #expect(text.contains("─ env  (no layer)\n"))
            let why = try program.run("why", layout, "/a").succeed().text
            #expect(
                !why.contains("made by")
                    && why.contains("history, whose steps do not match the layers\n    one\n"))
            let image = try #require((json("inspect", layout, "--json")["images"] as? [[String: Any]])?.first)
            let history = try #require(image["history"] as? [[String: Any]])
            #expect(history.map { $0["createdBy"] as? String } == steps + ["env"])
            #expect((image["layers"] as? [[String: Any]])?.allSatisfy { $0["createdBy"] == nil } == true)
            #expect((try json("why", layout, "/a", "--json")["history"] as? [Any])?.count == steps.count + 1)
        }
    }

    // MARK: The config of a bundle

    @Test(
        "A numeric user of a bundle is used as that number; entries of Env that runc refuses are omitted with a warning"
    )
    func bundle() throws {
        let layer = LayerBuilder(
            .directory("etc"), .file("etc/passwd", "1000:x:0:0::/:\nx:x:01000:50::/:\n"),
            .file("etc/group", "1000:x:0:\n"))
        func run(_ name: String, _ execution: String) throws -> (Command, [String: Any]?) {
            let config =
                #"{"os": "linux", "architecture": "\#(Platform.host.architecture)", "author": "me", "config": \#(execution), "rootfs": {"type": "layers", "diff_ids": ["\#(layer.diffID)"]}}"#
            try builder.writeIndex([
                try builder.manifest(
                    try builder.blob(Array(config.utf8), .ociConfig), [try builder.layer(layer)])
            ])
            let bundle = program.scratch.path.appending(name)
            let run = try program.run(layout, "--bundle", bundle.string)
            let data = try? Data(contentsOf: URL(fileURLWithPath: "\(bundle)/config.json"))
            return (run, try data.map { try JSONSerialization.jsonObject(with: $0) as? [String: Any] } ?? nil)
        }
        let (done, made) = try run("a", #"{"User": "1000", "Env": ["A=1", "BROKEN", "E\u001b"]}"#)
        let config = try #require(made)
        #expect(done.status == 0)
        #expect(
            done.errorText.contains(
                #"config.json has no variables of these entries of Env: 'BROKEN', 'E\x1b' (a variable is NAME=VALUE)"#
            ),
            "\(done.report)")
        let process = try #require(config["process"] as? [String: Any])
        let user = try #require(process["user"] as? [String: Any])
        #expect(user["uid"] as? Int == 1000 && user["gid"] as? Int == 50)
        #expect((process["env"] as? [String])?.prefix(1) == ["A=1"])
        #expect(
            (config["annotations"] as? [String: Any])?["org.opencontainers.image.author"] as? String == "me")
        let (group, other) = try run("b", #"{"User": "7:1000"}"#)
        #expect(group.status == 0)
        let ids = (other?["process"] as? [String: Any])?["user"] as? [String: Any]
        #expect(ids?["uid"] as? Int == 7 && ids?["gid"] as? Int == 1000)
        // A user that is a number in JSON is refused: ignored, it would mean root.
        let (refused, none) = try run("c", #"{"User": 1000}"#)
        #expect(refused.status == 65 && none == nil)
        #expect(refused.errorText.contains("config.User of the image is not a string"))
    }
}
