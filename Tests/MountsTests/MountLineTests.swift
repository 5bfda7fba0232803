import Kernel
import Mounts
import SystemPackage
import TestSupport
import Testing

private func layers(_ count: Int, _ folder: FilePath = "/s") -> [FilePath] {
    (0..<count).reversed().map { folder.appending("\($0)/fs") }
}

private let writable = Mount.Writable(upper: "/s/u/fs", work: "/s/u/work")

@Suite("Mounts as lines of a shell") struct MountLineTests {
    @Test(
        "A mount has type, source and options",
        arguments: [
            (.bind(source: "/s/0/fs", readOnly: true), "bind /s/0/fs bind,ro", true),
            (.bind(source: "/s/0/fs", readOnly: false), "bind /s/0/fs bind", false),
            (
                .overlay(lowers: layers(2), writable: nil, userAttributes: false, noIndex: false),
                "overlay overlay ro,lowerdir=/s/1/fs:/s/0/fs", true
            ),
            (
                .overlay(lowers: layers(2), writable: nil, userAttributes: false, noIndex: true),
                "overlay overlay ro,lowerdir=/s/1/fs:/s/0/fs,index=off", true
            ),
            (
                .overlay(lowers: layers(2), writable: nil, userAttributes: true, noIndex: true),
                "overlay overlay ro,lowerdir=/s/1/fs:/s/0/fs,userxattr,index=off", true
            ),
            (
                .subvolume(device: "/dev/sda2", id: 257, readOnly: true), "btrfs /dev/sda2 ro,subvolid=257",
                true
            ),
            (
                .subvolume(device: "/dev/sda2", id: 257, readOnly: false), "btrfs /dev/sda2 subvolid=257",
                false
            ),
            (
                .image(file: "/s/i", type: "ext4", readOnly: true, options: ["noload"]),
                "ext4 /s/i loop,ro,noload", true
            ),
            (.image(file: "/s/i", type: "xfs", readOnly: false, options: []), "xfs /s/i loop", false),
            (
                .overlay(lowers: layers(1), writable: writable, userAttributes: false, noIndex: false),
                "overlay overlay upperdir=/s/u/fs,workdir=/s/u/work,lowerdir=/s/0/fs", false
            ),
        ] as [(Mount, String, Bool)])
    func options(mount: Mount, expected: String, isReadOnly: Bool) {
        #expect("\(mount.type) \(mount.source) \(mount.options(.joined).joined(separator: ","))" == expected)
        #expect(mount.isReadOnly == isReadOnly)
    }

    @Test("Each appended layer is an option of its own, topmost first")
    func appended() {
        let mount = Mount.overlay(lowers: layers(3), writable: writable, userAttributes: false, noIndex: true)
        #expect(
            mount.options(.appended) == [
                "upperdir=/s/u/fs", "workdir=/s/u/work", "lowerdir+=/s/2/fs", "lowerdir+=/s/1/fs",
                "lowerdir+=/s/0/fs",
                "index=off",
            ])
    }

    private static let performed: [ShellWord] = ["unpack", "mount", "key"]

    @Test(
        "A mount that mount(8) takes is a line for mount(8), any other a line for this program",
        arguments: [
            (.bind(source: "/s/0/fs", readOnly: true), .joined, "/mnt", "mount -o bind,ro /s/0/fs /mnt"),
            (.bind(source: "/s/0/fs", readOnly: false), .appended, nil, "mount -o bind /s/0/fs"),
            (
                .overlay(lowers: layers(2), writable: nil, userAttributes: false, noIndex: false), .joined,
                "/mnt",
                "mount -t overlay overlay -o ro,lowerdir=/s/1/fs:/s/0/fs /mnt"
            ),
            (
                .overlay(lowers: layers(2), writable: nil, userAttributes: false, noIndex: false), .appended,
                nil,
                "mount -t overlay overlay -o ro,lowerdir+=/s/1/fs,lowerdir+=/s/0/fs"
            ),
            // A value of 349 bytes.
            (
                .overlay(lowers: layers(40), writable: nil, userAttributes: false, noIndex: false), .joined,
                "/mnt",
                "unpack mount key /mnt"
            ),
            (
                .overlay(lowers: layers(600), writable: nil, userAttributes: false, noIndex: false),
                .appended, nil,
                "unpack mount key"
            ),
            (
                .bind(source: FilePath("/" + String(repeating: "d/", count: 2100)), readOnly: true), .joined,
                "/mnt",
                "mount -o bind,ro /" + String(repeating: "d/", count: 2099) + "d /mnt"
            ),
            (
                .subvolume(device: "/dev/loop0", id: 257, readOnly: true), .joined, nil,
                "mount -t btrfs -o ro,subvolid=257 /dev/loop0"
            ),
            (
                .image(file: "/s/i", type: "ext4", readOnly: true, options: ["errors=continue"]), .joined,
                "/mnt", "mount -t ext4 -o loop,ro,errors=continue /s/i /mnt"
            ),
            (
                .device("/dev/mapper/p-unpack-1", type: "xfs", readOnly: true, options: ["nouuid"]), .joined,
                nil,
                "mount -t xfs -o ro,nouuid /dev/mapper/p-unpack-1"
            ),
            (
                .device("tank/unpack/1@snapshot", type: "zfs", readOnly: true, options: []), .joined, "/mnt",
                "mount -t zfs -o ro tank/unpack/1@snapshot /mnt"
            ),
            (
                .device("tank/unpack/2", type: "zfs", readOnly: false, options: []), .joined, "/mnt",
                "mount -t zfs -o rw tank/unpack/2 /mnt"
            ),
        ] as [(Mount, Mount.LowerForm, FilePath?, String)])
    func line(mount: Mount, form: Mount.LowerForm, target: FilePath?, expected: String) throws {
        #expect(try MountLine(mount, form: form, target: target, performed: Self.performed).text == expected)
    }

    @Test("Several mounts are performed by this program, a single one by mount(8)")
    func several() throws {
        let mount = Mount.bind(source: "/s/0/fs", readOnly: true)
        func text(_ mounts: [Mount]) throws -> String {
            try MountLine(mounts, form: .joined, target: "/mnt", performed: Self.performed).text
        }
        #expect(try text([mount]) == "mount -o bind,ro /s/0/fs /mnt")
        #expect(try text([mount, mount]) == "unpack mount key /mnt")
    }

    /// The lengths at which the kernel or mount(8) would truncate or refuse options.
    @Test("The limits of option lengths are exact", arguments: [(0, true), (1, false)])
    func limits(over: Int, isMount: Bool) throws {
        func path(_ length: Int) -> FilePath { FilePath("/" + String(repeating: "d", count: length - 1)) }
        func first(_ lowers: [FilePath], _ form: Mount.LowerForm) throws -> ShellWord? {
            let mount = Mount.overlay(lowers: lowers, writable: nil, userAttributes: false, noIndex: false)
            return try MountLine(mount, form: form, target: nil, performed: Self.performed).words.first
        }
        let expected: ShellWord = isMount ? "mount" : "unpack"
        // One value: 255 bytes.
        #expect(try first([path(127), path(127 + over)], .joined) == expected)
        #expect(try first([path(255 + over), path(10)], .appended) == expected)
        // All options: "ro", 39 times ",lowerdir+=" with a path of 91 bytes, and one more whose path fills 4095 bytes.
        let many = Array(repeating: path(91), count: 39)
        let used = 2 + 39 * (11 + 91) + 11
        #expect(try first(many + [path(4095 - used + over)], .appended) == expected)
    }

    @Test(
        "A path that a shell or mount(8) would interpret is refused",
        arguments: [
            "/a b", "/a,b", "/a:b", "/a'b", "/a\"b", "/a\\b", "/a$b", "/a\nb", "/a;b", "/a*", "/é", "/a=b",
            "/~",
        ] as [FilePath])
    func notPlain(path: FilePath) {
        func line(_ mount: Mount, _ target: FilePath?) throws -> MountLine {
            try MountLine(mount, form: .joined, target: target, performed: Self.performed)
        }
        let overlay = Mount.overlay(
            lowers: ["/a", path], writable: nil, userAttributes: false, noIndex: false)
        let upper = Mount.Writable(upper: path, work: "/w")
        #expect(throws: MountLine.Failure.notPlain(path.string)) { try line(overlay, nil) }
        #expect(throws: MountLine.Failure.notPlain(path.string)) {
            try line(.overlay(lowers: ["/a"], writable: upper, userAttributes: false, noIndex: false), nil)
        }
        #expect(throws: MountLine.Failure.notPlain(path.string)) {
            try line(.bind(source: path, readOnly: true), nil)
        }
        #expect(throws: MountLine.Failure.notPlain(path.string)) {
            try line(.bind(source: "/a", readOnly: true), path)
        }
        #expect(throws: MountLine.Failure.notPlain(path.string)) {
            try line(.subvolume(device: path, id: 5, readOnly: true), nil)
        }
        #expect(throws: MountLine.Failure.notPlain(path.string)) {
            try line(.image(file: path, type: "ext4", readOnly: true, options: []), nil)
        }
        #expect(throws: MountLine.Failure.notPlain("a=\(path)")) {
            try line(.image(file: "/i", type: "ext4", readOnly: true, options: ["a=\(path)"]), nil)
        }
        #expect(!MountLine.isPlainValue(""))
        #expect(MountLine.isPlainValue("/a/B-9_.+@"))
    }
}
