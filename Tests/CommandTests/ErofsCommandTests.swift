import Foundation
import Kernel
import Mounts
import OCI
import SystemPackage
import TestSupport
import Testing

/// What users see of the snapshotter erofs beside the tests of all snapshotters.
@Suite(
    "Images with a file for each layer",
    .enabled(if: TestEnvironment.canMountOverlay && TestEnvironment.canMountErofs, "needs root and EROFS"))
struct ErofsCommandTests {
    /// The type of the file system that has the store; the kernel mounts a file on tmpfs through a loop device only.
    enum Place: String, CaseIterable {
        case ext4, tmpfs
    }

    private static let layers = [
        LayerBuilder(
            .directory("bin"), .file("bin/tool", Bytes(String(repeating: "x", count: 100_000))),
            .file("removed", "1")),
        LayerBuilder(
            .file("bin/other", "second"), .hardLink("bin/again", to: "bin/tool"), .file(".wh.removed")),
        LayerBuilder(.file("top", "third").mode(0o4755)),
    ]

    /// A program with its store in a place, which exists as long as the second value.
    private func program(_ place: Place) throws -> (Program, LoopFileSystem?) {
        guard place == .ext4 else { return (try Program(.erofs), nil) }
        let disk = try LoopFileSystem(type: "ext4", megabytes: 64)
        return (try Program(.erofs, in: disk.path), disk)
    }

    /// The images in the store that loop devices are attached to. The kernel frees a device shortly after the unmount.
    private func loopDevices(of program: Program) throws -> [String] {
        func files() throws -> [String] {
            try Command.run("losetup", "--noheadings", "--output", "BACK-FILE").succeed().text
                .split(separator: "\n").map(String.init).filter { $0.contains(program.root.string) }
        }
        for _ in 0..<100 {
            if try files().isEmpty { return [] }
            Process.sleep(milliseconds: 20)
        }
        return try files()
    }

    private func mountsInside(_ program: Program) throws -> Int {
        try MountTable.read().users(below: try program.root.resolved()).count
    }

    @Test(
        "The line, the script and 'unpack mount' show the tree, and leave nothing mounted",
        arguments: Place.allCases)
    func mounts(place: Place) throws {
        let (program, disk) = try program(place)
        defer { withExtendedLifetime(disk) {} }
        let image = try program.image(Self.layers).path.string
        let line = try program.line(image, "-q")
        let expected = try program.tree(line)
        #expect(expected["bin/again"] != nil && expected["removed"] == nil)
        let script = try program.run(image, "-q", "--format", "shell").succeed().text
        let file = try program.scratch.write("script", Array(script.utf8))
        for line in [
            "sh \(file)", "\(Program.path) mount --root \(program.root) --snapshotter erofs -q \(image)",
        ] {
            try program.mounted(line) { directory in
                #expect(try TreeDump(of: directory) == expected, "\(line)")
                // The overlay is the only mount.
                let users = try MountTable.read().users(below: try program.root.resolved())
                #expect(Set(users.map(\.target)) == [program.target], "\(line)")
            }
            #expect(try mountsInside(program) == 0 && loopDevices(of: program).isEmpty, "\(line)")
        }
    }

    @Test("A script whose last mount fails unmounts the others")
    func failingScript() throws {
        let program = try Program(.erofs)
        let image = try program.image(Self.layers).path.string
        let script = try program.run(image, "-q", "--format", "shell").succeed().text
        let file = try program.scratch.write("script", Array(script.utf8))
        let result = try Command.run("sh", file.string, "/nonexistent/directory")
        #expect(result.status != 0)
        #expect(try mountsInside(program) == 0)
    }

    @Test("A mounted image is neither removed nor repaired, and its layers stay", arguments: Place.allCases)
    func inUse(place: Place) throws {
        let (program, disk) = try program(place)
        defer { withExtendedLifetime(disk) {} }
        let image = try program.image(Self.layers).path.string
        let line = try program.line(image, "-q")
        try program.mounted(line) { directory in
            let digest = try program.rows("SELECT manifest FROM image").trimmingCharacters(in: .newlines)
            try program.run("rm", digest).succeed()
            #expect(try program.rows("SELECT count(*) FROM snapshot") == "3\n")
            #expect(try directory.status(of: FileName(literal: "top")) != nil)
        }
        try program.run("prune").succeed()
        #expect(try program.rows("SELECT count(*) FROM snapshot") == "0\n")
        try program.expectNothingLeftOver()
    }

    @Test("A flipped bit is found in the tar by the diff ID, and outside of it; both are repaired")
    func verify() throws {
        let program = try Program(.erofs)
        let image = try program.image(Self.layers).path.string
        let expected = try program.tree(try program.line(image, "-q", "--sync", "none"))
        let file = program.folder.appending("1").appending("layer.erofs")
        // The first file is most of the image. Its layer has the diff ID as the chain ID.
        let size = try File.status(of: file).size
        let damages: [(Int64, String)] = [
            (size / 2, "the tar in the image does not have the diff ID of the layer"),
            (size - 1, "the image has changed outside of its tar: its digest is sha256:*"),
        ]
        for (offset, message) in damages {
            let damaged = try File.open(file, .readWrite)
            var byte = [UInt8]()
            try damaged.read(into: &byte, limit: 1, at: offset)
            try [byte[0] ^ 1].withRawSpan { try damaged.write($0, at: offset) }
            let found = try program.run("verify", "-q")
            #expect(found.status == 4 && found.text.matches("sha256:*: \(message)\n"), "\(found.report)")
            let repaired = try program.run("verify", "-q", "--repair", image)
            #expect(repaired.status == 1, "\(repaired.report)")
            #expect(try program.run("verify", "-q").succeed().text.isEmpty)
            #expect(try program.tree(try program.line(image, "-q")) == expected)
        }
        #expect(try File.status(of: file).mode == 0o400)
    }

    @Test("fs-verity that cannot be enabled fails the run, and the next run completes the image")
    func verity() throws {
        let program = try Program(.erofs)
        let image = try program.image([Self.layers[0]]).path.string
        let log = program.scratch.path.appending("log").string
        func run(_ fault: String, _ root: FilePath) throws -> Command {
            try Command.run(
                Program.path.string, image, "-q", "--snapshotter", "erofs", "--root", root.string,
                environment: ["UNPACK_FAULT": fault, "UNPACK_FAULT_LOG": log])
        }
        _ = try run("list", program.scratch.path.appending("other")).succeed()
        let steps = String(decoding: try File.contents(of: FilePath(log)), as: UTF8.self)
        let enabling = try #require(
            steps.split(separator: "\n").first { $0.contains("FS_IOC_ENABLE_VERITY") })
        let step = try #require(enabling.split(separator: " ").first)
        let failed = try run("\(step):EIO", program.root)
        #expect(failed.status == 74 && failed.text.isEmpty, "\(failed.report)")
        #expect(
            failed.errorText.contains("cannot enable fs-verity for the snapshot 1: ioctl"),
            "\(failed.report)")
        let line = try program.line(image, "-q")
        #expect(try program.mounted(line) { try $0.names().count } == 2)
    }

    @Test("The tar in a layer's image is the layer")
    func tar() throws {
        let program = try Program(.erofs)
        let image = try program.image(Self.layers)
        _ = try program.line(image.path.string, "-q")
        for (number, layer) in Self.layers.enumerated() {
            let tar = layer.tar
            let bytes = try File.contents(
                of: program.folder.appending("\(number + 1)").appending("layer.erofs"))
            #expect(bytes.dropFirst(4096).starts(with: tar), "layer \(number + 1)")
        }
    }

    @Test("containerd's form has the images, and then their overlay")
    func containerd() throws {
        let program = try Program(.erofs)
        let image = try program.image(Self.layers).path.string
        let text = try program.run(image, "-q", "--format", "containerd").succeed().text
        let mounts = try #require(
            try JSONSerialization.jsonObject(with: Data(text.utf8)) as? [[String: Any]])
        #expect(mounts.compactMap { $0["Type"] as? String } == ["erofs", "erofs", "erofs", "overlay"])
        #expect(mounts.dropLast().allSatisfy { $0["Options"] as? [String] == ["ro", "loop"] })
        let lowers = mounts.dropLast().compactMap { $0["Target"] as? String }
        let options = try #require(mounts[3]["Options"] as? [String])
        #expect(options.first == "lowerdir=" + lowers.joined(separator: ":"))
    }

    @Test(
        "An ordinary user is refused with the reason, and overlayfs is named",
        .enabled(if: TestEnvironment.canBeOrdinary, "needs user namespaces"),
        arguments: OrdinaryUser.IDs.allCases)
    func ordinaryUser(ids: OrdinaryUser.IDs) throws {
        let user = try OrdinaryUser(ids)
        let run = try user.run("unpack", "busybox", "--snapshotter", "erofs")
        #expect(run.status == 69 && run.text.isEmpty, "\(run.report)")
        #expect(
            run.errorText.hasSuffix(
                """
                unpack: erofs cannot be used without root: the kernel mounts no EROFS image in a user namespace
                hint: use --snapshotter overlayfs\n
                """), "\(run.report)")
    }

    @Test("An image of 300 layers is mounted, and one umount ends all of it")
    func manyLayers() throws {
        let program = try Program(.erofs)
        let layers = (1...300).map { LayerBuilder(.file(Bytes("file-\($0)"), "\($0)")) }
        let line = try program.line(try program.image(layers).path.string, "-q", "--sync", "none")
        let names = try program.mounted(line) { try $0.names().count }
        #expect(names == 300)
        #expect(try mountsInside(program) == 0 && loopDevices(of: program).isEmpty)
    }
}
