import Kernel
import Mounts
import SystemPackage
import TestSupport
import Testing

private let stack = Mount.overlay(
    lowers: ["/s/2/fs", "/s/1/fs"], writable: nil, userAttributes: false, noIndex: true)
private let single = Mount.bind(source: "/s/1/fs", readOnly: true)

@Suite("Mounts in configuration files of other programs") struct MountFilesTests {
    @Test(
        "A line of fstab has six fields",
        arguments: [
            (stack, .appended, "overlay /mnt/x overlay ro,lowerdir+=/s/2/fs,lowerdir+=/s/1/fs,index=off 0 0"),
            (stack, .joined, "overlay /mnt/x overlay ro,lowerdir=/s/2/fs:/s/1/fs,index=off 0 0"),
            (single, .joined, "/s/1/fs /mnt/x none bind,ro 0 0"),
            (
                .subvolume(device: "/dev/sda", id: 5, readOnly: true), .joined,
                "/dev/sda /mnt/x btrfs ro,subvolid=5 0 0"
            ),
        ] as [(Mount, Mount.LowerForm, String)])
    func fstab(mount: Mount, form: Mount.LowerForm, line: String) throws {
        #expect(try FstabLine(mount, form: form, target: "/mnt/x").text == line)
    }

    @Test("Options that mount(8) would truncate or misread are refused")
    func refused() {
        let long = Mount.overlay(
            lowers: (0..<200).map { FilePath("/var/lib/unpack/overlayfs/\($0)/fs") }, writable: nil,
            userAttributes: false,
            noIndex: true)
        #expect(throws: MountLine.Failure.tooLong(bytes: 8502)) {
            try FstabLine(long, form: .appended, target: "/mnt")
        }
        #expect(throws: MountLine.Failure.self) {
            try SystemdMountUnit(long, form: .appended, target: "/mnt", description: "", store: "/s")
        }
        // One value of more than 255 bytes.
        #expect(throws: MountLine.Failure.self) { try FstabLine(long, form: .joined, target: "/mnt") }
        #expect(throws: MountLine.Failure.notPlain("/a b")) {
            try FstabLine(stack, form: .appended, target: "/a b")
        }
    }

    @Test(
        "The name of a unit is that of systemd-escape",
        .enabled(if: TestEnvironment.has("systemd-escape"), "needs systemd-escape"),
        arguments: ["/mnt/root-fs", "/", "/a.b/.c", "/.hidden/x", "/srv/x@y+z_0", "/mnt//x/"] as [FilePath])
    func names(path: FilePath) throws {
        let unit = try SystemdMountUnit(
            single, form: .joined, target: path, description: "50% of it", store: "/s")
        let expected = try Command.run("systemd-escape", "--path", "--suffix=mount", path.string).succeed()
            .text
        #expect(unit.name + "\n" == expected)
        #expect(unit.text.contains("Description=50%% of it\n"))
    }

    @Test(
        "A description of a unit stays on its line, and no specifier in it is expanded",
        arguments: [
            ("a\nWhat=/etc\r\n", #"a\x0aWhat=/etc\x0d\x0a"#), ("%h $HOME", "%%h $HOME"),
            ("\u{202E}", #"\xe2\x80\xae"#),
            (#"continued\"#, #"continued\ ."#),
        ])
    func description(text: String, expected: String) throws {
        func unit(_ description: String, _ store: FilePath = "/s") throws -> [Substring] {
            try SystemdMountUnit(
                single, form: .joined, target: "/mnt", description: description, store: store
            ).text.split(separator: "\n", omittingEmptySubsequences: false)
        }
        let lines = try unit(text)
        #expect(lines.count == (try unit("x").count) && lines[2] == "Description=\(expected)")
        #expect(throws: MountLine.Failure.notPlain("/a\nb")) { try unit("x", "/a\nb") }
    }

    @Test("An mstack consists of symlinks, lowest layer first, and never has a single layer")
    func mstack() throws {
        let scratch = try TemporaryDirectory()
        for name in ["1", "2"] {
            let folder = try scratch.makeDirectory(name)
            try Command.run("touch", folder.appending(name).string).succeed()
        }
        let layers = [scratch.path.appending("2"), scratch.path.appending("1")]
        let place = scratch.path.appending("x.mstack")
        let two = Mount.overlay(lowers: layers, writable: nil, userAttributes: false, noIndex: true)
        try Command.run("sh", "-ec", try MstackScript(two, target: place).text).succeed()
        #expect(try Command.run("ls", place.string).succeed().text == "layer@1\nlayer@2\n")
        #expect(try Command.run("ls", place.appending("layer@2/").string).succeed().text == "2\n")
        let one = scratch.path.appending("y.mstack")
        let script = try MstackScript(.bind(source: layers[1], readOnly: true), target: one).text
        // The script is idempotent.
        for _ in 1...2 { try Command.run("sh", "-ec", script).succeed() }
        #expect(
            try Command.run("ls", one.string, one.appending("layer@0").string).succeed().text.contains(
                "layer@0\nlayer@1\n"))
        #expect(try Command.run("ls", one.appending("layer@1/").string).succeed().text == "1\n")
        #expect(throws: MountLine.Failure.self) {
            try MstackScript(.bind(source: "/x", readOnly: false), target: place)
        }
    }
}
