import Kernel
import Mounts
import SystemPackage
import TestSupport
import Testing

@Suite("The mount table") struct MountTableTests {
    @Test(
        "Layers are counted in either form",
        arguments: [
            ("ro,lowerdir=/a:/b:/c", 3), ("ro,lowerdir+=/a,lowerdir+=/b,redirect_dir=on", 2),
            ("ro,lowerdir=/a", 1),
            ("rw,upperdir=/u,workdir=/w,lowerdir=/a:/b,index=off", 2), ("rw", 0),
            ("rw,lowerdir+=/a,datadir+=/b", 1), (#"ro,lowerdir=/a\134:b:/c"#, 2),
            (#"ro,lowerdir=/a\134:b\134:c"#, 1), ("rw,lowerdir+=/a:b,lowerdir+=/c", 2),
        ])
    func counts(options: String, expected: Int) throws {
        let directory = try TemporaryDirectory()
        let text = """
            22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
            23 22 0:5 / \(directory.path.string) rw shared:2 master:1 - overlay overlay \(options)
            24 22 0:6 / /elsewhere rw - overlay overlay ro,lowerdir=/x:/y:/z:/0
            """
        #expect(try MountTable(parsing: Array(text.utf8)).lowers(of: directory.path) == expected)
    }

    @Test("The last mount on a directory counts, and escapes are decoded")
    func last() throws {
        let directory = try TemporaryDirectory()
        let path = try directory.makeDirectory("sp ace\tand\\slash")
        let written = path.string.replacing("\\", with: "\\134").replacing(" ", with: "\\040").replacing(
            "\t", with: "\\011")
        let text = """
            23 22 0:5 / \(written) rw - overlay overlay ro,lowerdir=/a:/b
            24 22 0:6 / \(written) rw - overlay overlay ro,lowerdir=/x:/y:/z
            not a line
            """
        let table = MountTable(parsing: Array(text.utf8))
        #expect(try table.lowers(of: path) == 3)
        #expect(try table.lowers(of: directory.path) == 0)
        #expect(throws: SyscallFailure.self) { try table.lowers(of: directory.path.appending("missing")) }
    }

    private static let table = MountTable(
        parsing: Array(
            #"""
            20 1 8:1 / / rw - ext4 /dev/sda1 rw
            21 20 0:30 /@ /data rw - btrfs /dev/sdb1 rw,subvolid=256,subvol=/@
            22 20 8:1 /old /data rw - ext4 /dev/hidden rw
            23 20 0:30 /@ /data rw - btrfs /dev/sdb2 rw,subvolid=256,subvol=/@
            24 21 0:40 / /data/tmp rw - tmpfs  rw
            30 20 0:50 / /m/joined ro - overlay overlay ro,lowerdir=/data/s/2/fs:/data/s/1/fs
            31 20 0:51 / /m/appended rw - overlay overlay rw,lowerdir+=/data/s/2/fs,upperdir=/data/s/3/fs,workdir=/w
            32 20 0:52 / /m/escaped rw - overlay overlay rw,lowerdir=/data/c\134:d/fs:/x,upperdir=/data/e\134\054f
            33 20 0:53 / /m/odd rw - overlay overlay rw,lowerdir+=/data/c:d/g,lowerdir+=/data/sp\040ace
            34 20 0:30 /@/s/2/fs /m/bound rw - btrfs /dev/sdb1 rw
            35 20 8:1 /data/s/2 /m/other rw - ext4 /dev/sda1 rw
            37 20 0:55 / /tank/s rw - zfs tank/s rw,xattr
            38 37 0:56 / /tank/s/x rw - zfs tank/s/x rw,xattr
            39 20 0:55 /y /tank/part rw - zfs tank/s rw,xattr
            36 20 0:54 / /m/none rw - tmpfs lowerdir+=/data/s rw,lowerdir+=/data/s
            """#.utf8))

    @Test(
        "The device of a path is that of the last mount on the longest matching mount point",
        arguments: [
            ("/data", "/dev/sdb2"), ("/data/s/1", "/dev/sdb2"), ("/database", nil), ("/", nil),
            ("/data/tmp/x", nil), ("/m/bound/x", "/dev/sdb1"),
        ] as [(FilePath, FilePath?)])
    func device(path: FilePath, expected: FilePath?) {
        #expect(Self.table.device(holding: path, type: "btrfs") == expected)
    }

    @Test(
        "The source of a mount point is that of the topmost mount on it",
        arguments: [
            ("/tank/s", "tank/s"), ("/tank/s/y", nil), ("/tank/part", nil), ("/tank", nil), ("/data", nil),
        ] as [(FilePath, FilePath?)])
    func source(target: FilePath, expected: FilePath?) {
        #expect(Self.table.source(mountedOn: target, type: "zfs") == expected)
    }

    @Test(
        "The users of a directory are overlays with a layer in it, and mounts of it or of a directory below",
        arguments: [
            ("/data/s/1", ["/m/joined"]), ("/data/s/2", ["/m/joined", "/m/appended", "/m/bound"]),
            ("/data/s/2/fs", ["/m/joined", "/m/appended", "/m/bound"]), ("/data/s/2/fs/etc", []),
            ("/data/s/3", ["/m/appended"]), ("/data/s/20", []), ("/data/c:d", ["/m/escaped", "/m/odd"]),
            ("/data/e,f", ["/m/escaped"]), ("/data/sp ace", ["/m/odd"]), ("/x", ["/m/escaped"]),
            ("/old", ["/data"]), ("/elsewhere", []),
        ] as [(FilePath, [FilePath])])
    func users(directory: FilePath, expected: [FilePath]) {
        // A mount is listed once for each layer.
        let targets = Self.table.users(below: directory).map(\.target)
        #expect(targets.reduce(into: []) { if $0.last != $1 { $0.append($1) } } == expected)
    }

    @Test("The kernel's own table is parsed")
    func own() throws { #expect(try MountTable.read().lowers(of: "/proc") == 0) }
}
