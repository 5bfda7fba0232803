import Foundation
import Kernel
package import SystemPackage

/// A pool of ZFS on a file in memory, destroyed with this object and with every dataset in it.
package final class ZfsPoolOnFile: Sendable {
    /// The mount point of the pool's own dataset, with the name `s`.
    package let path: FilePath
    /// The directory of the mount point.
    package let parent: FilePath
    package let name: String
    private let temporary: TemporaryDirectory

    /// - Parameter megabytes: size in MiB; unwritten blocks take no memory.
    package init(megabytes: Int) throws {
        name = "test-\(UInt32.random(in: .min ... .max))"
        temporary = try TemporaryDirectory(in: "/dev/shm")
        parent = temporary.path
        path = try temporary.makeDirectory("s")
        let file = try temporary.write("vdev", [])
        try File.open(file, .readWrite).truncate(to: Int64(megabytes) << 20)
        try Command.run("zpool", "create", "-m", path.string, name, file.string).succeed()
    }

    deinit {
        // A dataset is busy until the kernel has ended the last unmount.
        for _ in 1...100 {
            if (try? Command.run("zpool", "destroy", "-f", name))?.status == 0 { return }
            Process.sleep(milliseconds: 20)
        }
    }
}

extension TestEnvironment {
    /// Whether the kernel has ZFS, which no distribution's own kernel package brings but Ubuntu's.
    package static let canMakeZfsPools: Bool = {
        guard has("zpool") else { return false }
        return (try? ZfsPoolOnFile(megabytes: 64)) != nil
    }()
}
