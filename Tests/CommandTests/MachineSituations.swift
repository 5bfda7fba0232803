import Foundation
import Glibc
import OCI
import SystemPackage
import TestSupport
import Testing

/// The situations of `docs/errors.md` in which the machine refuses something, or only some machines refuse an image.
extension ErrorTableTests {
    /// - Returns: nil for an unknown situation.
    static func makeMachine(_ situation: String, with program: Program) throws -> Command? {
        let root = program.root.string
        switch situation {
        case "no /proc": return try unshared("umount -l /proc", program)
        case "a /proc without /proc/sys":
            return try unshared("mount -t proc -o subset=pid proc /proc", program)
        case "a limit on threads":
            // If the test cannot create a cgroup, a seccomp filter returns the same error.
            let group = PidsCgroup.isPossible ? try PidsCgroup(max: 3) : nil
            let words = [Program.path.string, busybox, "--root", root]
            return try withExtendedLifetime(group) {
                try Command.run(group?.words(words) ?? refusingThreads(EAGAIN, words))
            }
        case "a seccomp filter that refuses threads":
            return try Command.run(refusingThreads(EPERM, [Program.path.string, busybox, "--root", root]))
        case "standard output on a full file system":
            return try shell("exec $0 inspect $1 > /dev/full", program)
        case "a closed standard output": return try shell("exec $0 inspect $1 >&-", program)
        case "an argument that is not UTF-8": return try shell(#"exec $0 "$(printf 'a\377')""#, program)
        case "no inodes":
            let layer = LayerBuilder((0..<300).map { TarEntry.file(Bytes("f\($0)")) })
            return try mounted(
                program, "mount -t tmpfs -o nr_inodes=200,mode=0700 tmpfs",
                try program.image([layer]).path.string)
        case "an extended attribute that is too large for the file system":
            let value = Bytes([UInt8](repeating: 0x61, count: 5000))
            return try onto("ext4", 64, program, [.file("a").xattr("user.large", value)])
        case "a link target that is too long for the file system":
            return try onto(
                "xfs", 320, program, [.symlink("a", to: Bytes([UInt8](repeating: 0x61, count: 2000)))])
        case "a link target that is too long for Linux":
            let entry = TarEntry.symlink("a", to: Bytes([UInt8](repeating: 0x61, count: 4096)))
            return try program.run(try program.image([LayerBuilder(entry)]).path.string)
        case "a device in the image, and root without CAP_MKNOD":
            let image = try program.image([LayerBuilder(.character("null", 1, 3))]).path
            return try Command.run(
                "capsh", "--drop=cap_mknod", "--", "-c", "\(Program.path) \(image) --root \(root)")
        case "an immutable directory":
            let disk = try LoopFileSystem(type: "ext4", megabytes: 64)
            try Command.run("sh", "-ec", "mkdir -m 700 \(disk.path)/s; chattr +i \(disk.path)/s").succeed()
            return try onto(disk, program, busybox)
        case "a limit on open files": return try shell("ulimit -n 16; exec $0 $1 --jobs 1 --root $2", program)
        case "a limit on the size of files":
            return try shell("ulimit -f 1000; exec $0 $1 --jobs 1 --root $2", program)
        case "a damaged database":
            try program.run("-q", busybox).succeed()
            try Data(repeating: 0x61, count: 8192).write(to: URL(fileURLWithPath: root + "/metadata.db"))
            return try shell("rm -f $2/metadata.db-*; exec $0 images --root $2", program)
        case "a mount that is in use":
            return try Command.run(
                "unshare", "-m", "sh", "-ec",
                #"mount -t tmpfs tmpfs "$1"; cd "$1"; "$0" umount "$1""#, Program.path.string,
                program.target.string)
        case "a path that is too long":
            return try program.run("/" + String(repeating: "a", count: 300))
        case "a loop of symbolic links":
            return try shell("ln -s circle $3/circle; exec $0 $3/circle", program)
        default: return try makeFault(situation, with: program) ?? makeOddImage(situation, with: program)
        }
    }

    /// Errors that a test cannot provoke in the kernel: the program injects them (`FaultPoint`).
    private static func makeFault(_ situation: String, with program: Program) throws -> Command? {
        let errno: String? =
            switch situation {
            case "an I/O error of the disk": "EIO"
            case "an exceeded quota": "EDQUOT"
            case "a directory that was removed on its NFS server": "ESTALE"
            case "no memory": "ENOMEM"
            case "the machine's limit on open files": "ENFILE"
            case "a store that spans two file systems": "EXDEV"
            case "too many hard links": "EMLINK"
            default: nil
            }
        return try errno.map { try shell("UNPACK_FAULT=3:\($0) exec $0 $1 --jobs 1 --root $2", program) }
    }

    private static func makeOddImage(_ situation: String, with program: Program) throws -> Command? {
        let builder = try ImageBuilder(at: program.scratch.path.appending("odd"))
        switch situation {
        case "an artifact that is not an image":
            let type = MediaType(rawValue: "application/vnd.example.chart")
            let manifest = try builder.manifest(try builder.blob(Array("{}".utf8), type), [])
            try builder.writeIndex([manifest])
            return try program.run(builder.path.string, "--digest", "\(manifest.digest)")
        case "an archive with a large zstd window":
            let tar = LayerBuilder(try image(program).0.members()).tar
            return try program.run(try program.scratch.write("x.tar.zst", withLargeWindow(tar)).string)
        case "a layer with a large zstd window":
            let layer = LayerBuilder(.file("a"))
            let blob = try builder.blob(withLargeWindow(layer.tar), .ociLayer(compression: "zstd"))
            try builder.writeIndex([try builder.manifest(try builder.config(.host, [layer.diffID]), [blob])])
            return try program.run(builder.path.string)
        case "an extended attribute without a name":
            let layer = LayerBuilder(.directory("d").xattr("user.", "x"), .file("later"))
            return try program.run(try program.image([layer]).path.string)
        case "an archive whose manifest.json is null":
            return try program.run(try tar(program, "null.tar", [.file("manifest.json", "null")]))
        default: return nil
        }
    }

    /// A frame with a window of 256 MiB (RFC 8878, section 3.1.1.1.2).
    private static func withLargeWindow(_ bytes: [UInt8]) -> [UInt8] {
        var frame = storedZstd(bytes)
        frame[5] = 0x90
        return frame
    }

    // MARK: Helpers

    /// - Parameter script: `$0` is the program, `$1` an image, `$2` ROOT, `$3` a directory.
    private static func shell(_ script: String, _ program: Program) throws -> Command {
        try Command.run(
            "sh", "-c", script, Program.path.string, busybox, program.root.string, program.scratch.path.string
        )
    }

    private static func unshared(_ script: String, _ program: Program) throws -> Command {
        try Command.run(
            "unshare", "-m", "sh", "-ec", #"\#(script); exec "$0" "$1" --root "$2""#, Program.path.string,
            busybox,
            program.root.string)
    }

    private static func onto(
        _ type: String, _ megabytes: Int, _ program: Program, _ entries: [TarEntry]
    ) throws -> Command {
        let disk = try LoopFileSystem(type: type, megabytes: megabytes)
        return try onto(disk, program, try program.image([LayerBuilder(entries)]).path.string)
    }

    private static func onto(_ disk: LoopFileSystem, _ program: Program, _ image: String) throws -> Command {
        try withExtendedLifetime(disk) {
            try program.run(image, "--root", disk.path.appending("s").string, "--jobs", "1")
        }
    }
}
