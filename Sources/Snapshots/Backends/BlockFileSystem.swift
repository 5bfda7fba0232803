internal import Kernel
internal import SystemPackage

/// A file system on a block device or in an image file.
package enum BlockFileSystem: String, CaseIterable, Sendable {
    case ext4
    case xfs

    /// - Parameter readOnly: whether the file system is mounted read-only.
    func mountOptions(readOnly: Bool) -> [String] {
        switch self {
        // Otherwise the kernel would write 48 MiB of empty inodes for each GiB in the background.
        case .ext4: readOnly ? [] : ["noinit_itable"]
        // Snapshots of one file system have the same UUID.
        case .xfs: ["nouuid"]
        }
    }

    private func command(_ path: FilePath, journal: String?) -> (program: String, arguments: [String]) {
        switch self {
        case .ext4:
            (
                "mkfs.ext4",
                ["-q", "-F", "-I", "256", "-m", "0"] + (journal.map { ["-J", "size=\($0)"] } ?? [])
                    + ["-E", "nodiscard,lazy_itable_init=1,lazy_journal_init=1", path.string]
            )
        case .xfs: ("mkfs.xfs", ["-q", "-f", "-K", path.string])
        }
    }

    private var package: String {
        switch self {
        case .ext4: "e2fsprogs"
        case .xfs: "xfsprogs"
        }
    }

    /// Makes an empty file system.
    ///
    /// - Parameters:
    ///   - backend: the name of the snapshotter, for messages.
    ///   - journal: of ext4, in MiB; nil for one that fits the size.
    /// - Throws: `.unavailable` with the reason.
    func format(_ path: FilePath, for backend: String, journal: String? = nil) throws(StoreFailure) {
        let (program, arguments) = command(path, journal: journal)
        var reason = "\(program) is not installed"
        do throws(SyscallFailure) {
            let result = try Process.run(program, arguments)
            if result.status == 0 { return }
            reason = escaped(result.text.utf8)
        } catch {
            if !error.isMissing { throw StoreFailure(error, "cannot run \(program)") }
        }
        throw StoreFailure(
            .unavailable, "\(backend) cannot keep snapshots: \(reason)",
            hint: "install \(package), or use another --snapshotter")
    }
}

/// The settings of a store that only some snapshotters have; nil for what the store has or the default.
package struct BackendSettings: Sendable {
    /// The thin pool of `devmapper`.
    package var pool: String?
    /// Bytes of each snapshot of `devmapper`.
    package var size: Int64?
    /// The file system of `devmapper`.
    package var fileSystem: BlockFileSystem?

    package init(pool: String? = nil, size: Int64? = nil, fileSystem: BlockFileSystem? = nil) {
        self.pool = pool
        self.size = size
        self.fileSystem = fileSystem
    }
}
