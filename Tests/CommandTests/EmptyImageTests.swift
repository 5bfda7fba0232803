import Foundation
import Kernel
import OCI
import SystemPackage
import TestSupport
import Testing

@Suite(
    "An image without layers", .enabled(if: TestEnvironment.canMountOverlay, "needs root and overlay mounts"))
struct EmptyImageTests {
    /// Docker's empty layer, uncompressed.
    private static let chain = "sha256:5f70bf18a086007016e948b04aed3b82103a36bea41755b6cddfaf10ace3c6ef"

    private func layout(_ program: Program) throws -> ImageBuilder {
        let builder = try ImageBuilder(at: program.scratch.path.appending("empty"))
        try builder.writeIndex([try builder.image([]).named("empty:1")])
        return builder
    }

    private func expectEmptyRoot(_ tree: TreeDump) {
        #expect(tree.lines.count == 1, "\(tree.text)")
        #expect(tree.lines.first?.contains("755") == true, "\(tree.text)")
    }

    @Test("It is an empty root file system in every format", arguments: Snapshotter.possible)
    func formats(snapshotter: Snapshotter) throws {
        let program = try Program(snapshotter)
        let image = try layout(program).path.string
        expectEmptyRoot(try program.tree(try program.line(image)))
        for format in ["shell", "json", "containerd", "fstab", "systemd", "mstack", "path"] {
            let target =
                ["fstab", "systemd", "mstack"].contains(format) ? ["--target", program.target.string] : []
            let run = try program.run([image, "--format", format] + target)
            // These backends have no directory for each layer.
            if format == "mstack", [.btrfs, .loop, .erofs].contains(snapshotter) {
                #expect(run.status == 64)
                continue
            }
            #expect(run.status == 0 && !run.text.isEmpty, "\(run.report)")
        }
        let json = try #require(
            try JSONSerialization.jsonObject(
                with: Data(program.run(image, "--format", "json").succeed().output))
                as? [String: Any])
        #expect(json["chainID"] as? String == Self.chain)
        // What is written goes to the writable snapshot, and not to the layer.
        let line = try program.line(image, "--rw", "key")
        try program.mounted(line) {
            try Data().write(to: URL(fileURLWithPath: "\(program.target)/new")); _ = $0
        }
        expectEmptyRoot(try program.tree(try program.line(image)))
    }

    @Test("It is mounted, verified, listed and removed like any other image", arguments: Snapshotter.possible)
    func housekeeping(snapshotter: Snapshotter) throws {
        let program = try Program(snapshotter)
        let image = try layout(program).path.string
        for what in [image, Self.chain] {
            try program.run("mount", what, program.target.string).succeed()
            defer { try? unmountWhenFree(program.target) }
            expectEmptyRoot(try TreeDump(of: try Directory(opening: program.target)))
        }
        #expect(try program.run("images").succeed().text.contains("empty:1"))
        try program.run("verify", "empty:1").succeed()
        // Damage is found, and repaired from the image.
        if snapshotter == .overlayfs {
            let layer = try program.line(image, "--format", "path")
            try Command.run("touch", "\(layer)/x").succeed()
            #expect(try program.run("verify").status == 4)
            #expect(try program.run("verify", "--repair", image).status == 1)
            try program.run("verify").succeed()
        }
        try program.run("rm", "empty:1").succeed()
        #expect(try program.rows("SELECT count(*) FROM snapshot") == "0\n")
        try program.expectNothingLeftOver()
    }

    @Test("A plain directory, a tar and a bundle of it are empty")
    func outputs() throws {
        let program = try Program()
        let image = try layout(program).path.string
        let folder = program.scratch.path.appending("tree")
        try program.run(image, "--output", folder.string).succeed()
        expectEmptyRoot(try TreeDump(of: try Directory(opening: folder)))
        let file = program.scratch.path.appending("tree.tar")
        try program.run(image, "--output", file.string).succeed()
        #expect(["", "./\n"].contains(try Command.run("tar", "-tf", file.string).succeed().text))
        let bundle = program.scratch.path.appending("bundle")
        let line = try program.line(image, "--bundle", bundle.string)
        #expect(try bundle.appending("config.json").exists())
        try Command.run("sh", "-ec", line).succeed()
        defer { try? unmountWhenFree(bundle.appending("rootfs")) }
        #expect(try Directory(opening: bundle.appending("rootfs")).names().isEmpty)
    }

    @Test("The inspection commands accept it")
    func inspection() throws {
        let program = try Program()
        let builder = try layout(program)
        let image = builder.path.string
        #expect(try program.run("ls", image).succeed().text.isEmpty)
        #expect(try program.run("diff", image, image).succeed().text.isEmpty)
        #expect(try program.run("why", image, "/x").status == 66)
        let text = try program.run("inspect", image).succeed().text
        #expect(text.contains("no layers, an empty root file system\n") && text.contains(Self.chain))
        let json = try program.run("inspect", image, "--json").succeed().text
        #expect(json.contains(#""layers":[]"#) && json.contains(#""chainID":"\#(Self.chain)""#))
        let umoci = try builder.manifest(
            try builder.blob(
                Array(
                    #"{"os": "linux", "architecture": "\#(Platform.host.architecture)", "rootfs": {"type": "layers", "diff_ids": null}}"#
                        .utf8), .ociConfig), [])
        try builder.writeIndex([umoci])
        #expect(try program.run("ls", image).succeed().text.isEmpty)
    }

    @Test("It is unpacked from a docker-archive and through a pipe", arguments: ["[]", "null"])
    func archives(layers: String) throws {
        let program = try Program()
        let image = DockerArchiveBuilder(["empty:1"], [])
        let text = #"[{"Config": "\#(image.configName)", "RepoTags": ["empty:1"], "Layers": \#(layers)}]"#
        let tar = LayerBuilder(image.members + [.file("manifest.json", Bytes(text))]).tar
        let file = try program.scratch.write("x.tar", tar)
        expectEmptyRoot(try program.tree(try program.line(file.string)))
        #expect(
            try Command.run(
                "sh", "-ec", #"cat "$0" | "$1" - -q --root "$2""#, file.string, Program.path.string,
                program.root.string
            ).status == 0)
    }
}
