import Foundation
import Kernel
import OCI
import SystemPackage
import TestSupport
import Testing

/// One plain directory or one tar, without a store (`--output`).
@Suite(.enabled(if: TestEnvironment.canMountOverlay, "it needs to mount an overlay")) struct PlainOutputTests
{
    private let program: Program
    private let image = Program.fixtures.appending("busybox").string

    init() throws { program = try Program() }

    @Test("--output: one plain tree, the same as the mounted one, and no store")
    func output() throws {
        for image in [image, try program.image([LayerBuilder(.file("only", "one"))]).path.string] {
            let expected = try program.tree(try program.line(image))
            let folder = program.scratch.path.appending("tree-\(UInt32.random(in: .min ... .max))")
            let other = program.scratch.path.appending("no-store")
            let run = try program.run(image, "--output", folder.string, "--root", other.string).succeed()
            #expect(run.text.isEmpty)
            let tree = try TreeDump(of: try Directory(opening: folder))
            #expect(tree == expected, "\(tree.difference(from: expected))")
            #expect(!FileManager.default.fileExists(atPath: other.string))
            let again = try program.run(image, "--output", folder.string)
            #expect(again.status == 64 && again.errorText.contains("is not empty"))
        }
    }

    @Test("--output on a full file system: the hint names no option of the store")
    func fullFileSystem() throws {
        let image = try program.image([LayerBuilder(.file("large", Bytes.noise(12 << 20)))]).path.string
        let place = try program.scratch.makeDirectory("small")
        try Command.run("mount", "-t", "tmpfs", "-o", "size=8m,mode=0700", "unpack", place.string).succeed()
        defer { _ = try? Command.run("umount", place.string) }
        let target = place.appending("tree").string
        for limit in [[], ["--max-bytes", "100000000"]] {
            let run = try program.run([image, "-q", "--output", target] + limit)
            #expect(run.status == 74 && run.errorText.contains("\nhint: free some space, "), "\(run.report)")
            #expect(!run.errorText.contains("--root"), "\(run.report)")
        }
    }

    @Test("--output leaves nothing of a damaged image, and keeps the directory that was there before")
    func damagedOutput() throws {
        let layer = LayerBuilder(.file("c", Bytes.noise(100_000)))
        let builder = try program.image([LayerBuilder(.file("a")), layer])
        let size = layer.tar.count
        let blob = try #require(
            try FileManager.default.contentsOfDirectory(atPath: builder.path.appending("blobs/sha256").string)
                .first {
                    let path = builder.path.appending("blobs/sha256/\($0)").string
                    return try FileManager.default.attributesOfItem(atPath: path)[.size] as? Int ?? 0 > size
                        / 2
                })
        let url = URL(fileURLWithPath: builder.path.appending("blobs/sha256/\(blob)").string)
        var data = try Data(contentsOf: url)
        data[data.count / 2] ^= 1
        try data.write(to: url)
        let folder = program.scratch.path.appending("tree")
        let failed = try program.run(builder.path.string, "--output", folder.string)
        #expect(failed.status == 65)
        #expect(!FileManager.default.fileExists(atPath: folder.string))
        let present = try program.scratch.makeDirectory("present")
        #expect(try program.run(builder.path.string, "--output", present.string).status == 65)
        #expect(try FileManager.default.contentsOfDirectory(atPath: present.string).isEmpty)
    }

    @Test(
        "--output FILE.tar and -: extracted as root, it is the mounted tree, and its bytes are the same every time"
    )
    func tar() throws {
        for image in [image, try program.image([LayerBuilder(.file("only", "one"))]).path.string] {
            let expected = try program.tree(try program.line(image))
            let file = program.scratch.path.appending("image.tar")
            let other = program.scratch.path.appending("no-store")
            #expect(try program.run(image, "-o", file.string, "--root", other.string).succeed().text.isEmpty)
            #expect(!FileManager.default.fileExists(atPath: other.string))
            let folder = try program.scratch.makeDirectory("x-\(UInt32.random(in: .min ... .max))")
            try Command.run(
                "tar", "--xattrs", "--xattrs-include=*", "--acls", "--same-owner",
                "--delay-directory-restore", "-xpf",
                file.string,
                in: folder
            ).succeed()
            let tree = try TreeDump(of: try Directory(opening: folder))
            #expect(tree == expected, "\(tree.difference(from: expected))")
            let stream = try program.run("-q", image, "--output", "-", "--jobs", "2").succeed().output
            #expect(stream == Array(try Data(contentsOf: URL(fileURLWithPath: file.string))))
            try FileManager.default.removeItem(atPath: file.string)
        }
    }

    @Test("A tar that cannot be finished does not replace a file, and leaves nothing")
    func cutTar() throws {
        let layer = LayerBuilder(.file("c", Bytes.noise(100_000)))
        let builder = try ImageBuilder(at: program.scratch.path.appending("damaged"))
        let blob = try builder.layer(layer)
        try builder.writeIndex([try builder.manifest(try builder.config(.host, [layer.diffID]), [blob])])
        try builder.damageBlob(blob) { $0[$0.count / 2] ^= 1 }
        let folder = try program.scratch.makeDirectory("out")
        let file = try program.scratch.write("out/image.tar", Array("precious".utf8))
        #expect(try program.run(builder.path.string, "-o", file.string).status == 65)
        #expect(try Data(contentsOf: URL(fileURLWithPath: file.string)) == Data("precious".utf8))
        #expect(try FileManager.default.contentsOfDirectory(atPath: folder.string) == ["image.tar"])
        let piped = try Command.run("sh", "-c", "\(Program.path) -q \(image) -o - | head -c 1000 | wc -c")
        #expect(piped.text == "1000\n")
    }

    @Test(
        "An ordinary user gets every owner and device into a tar", .enabled(if: TestEnvironment.canBeOrdinary)
    )
    func ordinaryTar() throws {
        let user = try OrdinaryUser(.single, prelude: OrdinaryUser.withoutNamespaces)
        let stream = try user.run("unpack", "-q", "busybox", "-o", "-").succeed().output
        #expect(stream == (try program.run("-q", image, "-o", "-").succeed().output))
    }

    @Test("SOURCE_DATE_EPOCH is the latest time in a tar")
    func epoch() throws {
        let run = try Command.run(
            "sh", "-ec", "\(Program.path) -q \(image) -o - | tar --utc -tv",
            environment: ["SOURCE_DATE_EPOCH": "86400"])
        let days = Set(
            run.text.split(separator: "\n").compactMap { $0.split(separator: " ").dropFirst(3).first })
        // Older times are kept.
        #expect(days == ["1970-01-02", "1970-01-01", "1969-12-31"], "\(days)")
        let wrong = try Command.run(
            Program.path.string, image, "-o", "-", environment: ["SOURCE_DATE_EPOCH": "yesterday"])
        #expect(wrong.status == 64 && wrong.errorText.contains("hint: "))
    }

    /// Runs a script in which `slow` writes an image slowly.
    private func slowly(_ script: String) throws -> Command {
        // The layer is last, so that it is applied while it arrives.
        let members = try program.image([LayerBuilder(.file("a", Bytes.noise(3_000_000)))]).members().sorted {
            $0.contents.array.count < $1.contents.array.count
        }
        let tar = try program.scratch.write("slow.tar", LayerBuilder(members).tar).string
        return try Command.run(
            "bash", "-c",
            "slow() { head -c 2000000 \(tar); sleep 2; tail -c +2000001 \(tar); }; U=\(Program.path); \(script)",
            in: program.scratch.path)
    }

    @Test("A signal that comes twice, as from timeout(1), leaves nothing half-done")
    func twice() throws {
        let run = try slowly("slow | timeout 1 $U -q --output D -; echo ${PIPESTATUS[1]}; ls -A")
        #expect(run.text.hasPrefix("124\n") && !run.text.contains("\nD\n"), "\(run.report)")
        let tar = try slowly("slow | timeout 1 $U -q --output x.tar -; ls -A")
        #expect(!tar.text.contains(".unpack-") && !tar.text.contains("x.tar"), "\(tar.report)")
    }

    @Test(
        "Files that another process adds to the directory stay, and of two runs into one directory one fails")
    func notAlone() throws {
        let kept = try slowly(
            "mkdir D; (sleep 1; echo mine >D/a) & slow | $U -q --output D -; echo $?; wait; ls -A D; cat D/a")
        #expect(kept.text == "74\na\nmine\n", "\(kept.report)")
        let image = try program.image([LayerBuilder(.file("b", Bytes.noise(30_000_000)))]).path
        let both = try slowly(
            "mkdir E; $U -q \(image) -o E & first=$!; $U -q \(image) -o E; second=$?; wait $first; echo $(($? == 0)) $((second == 0)); ls -A E"
        )
        #expect(["1 0\nb\n", "0 1\nb\n"].contains(both.text), "\(both.report)")
    }

    @Test("Output files have the modes of the umask, and only regular files are replaced")
    func modes() throws {
        let run = try slowly(
            "umask 077; $U -q \(image) -o m.tar; $U -q \(image) -o d/sub; stat -c %a m.tar d; umask 022; $U -q \(image) -o m.tar; stat -c %a m.tar; mkfifo p.tar; $U -q \(image) -o p.tar; echo $?; ln -s m.tar l.tar; echo precious >v; ln -s v w.tar; $U -q \(image) -o w.tar; echo $?; cat v"
        )
        #expect(run.text == "600\n700\n600\n64\n64\nprecious\n", "\(run.report)")
    }
}
