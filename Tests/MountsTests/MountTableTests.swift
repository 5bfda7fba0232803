import Kernel
import Mounts
import SystemPackage
import TestSupport
import Testing

@Suite("The table of mounts") struct MountTableTests {
    @Test(
        "Layers are counted in either form",
        arguments: [
            ("ro,lowerdir=/a:/b:/c", 3), ("ro,lowerdir+=/a,lowerdir+=/b,redirect_dir=on", 2),
            ("ro,lowerdir=/a", 1),
            ("rw,upperdir=/u,workdir=/w,lowerdir=/a:/b,index=off", 2), ("rw", 0),
            ("rw,lowerdir+=/a,datadir+=/b", 1),
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

    @Test("The last mount on a directory counts, and escapes are read")
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

    @Test("The kernel's own table is read")
    func own() throws { #expect(try MountTable.read().lowers(of: "/proc") == 0) }
}
