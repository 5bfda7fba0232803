internal import Kernel
internal import SystemPackage

/// `ROOT/<snapshotter>`, the folder with a directory for each snapshot.
struct BackendFolder: Sendable {
    let path: FilePath
    let directory: Directory
    let settings: BackendSettings

    /// Opens the folder in a store, and makes it if it is missing.
    ///
    /// Directories in it inherit nothing from where the store is located: no group of a setgid directory or of a file
    /// system mounted with `grpid`, no default ACL, no project and no flags.
    init(
        opening name: String, in rootDirectory: Directory, at root: FilePath, _ settings: BackendSettings
    ) throws(OwnershipFailure) {
        self.settings = settings
        path = root.appending(name)
        let directory = try rootDirectory.ensureOwnDirectory(name, in: root)
        do {
            try directory.takeExclusiveAccess()
        } catch {
            throw OwnershipFailure(error)
        }
        self.directory = directory
    }

    func path(of id: Int64) -> FilePath { path.appending("\(id)") }

    func open(_ id: Int64) throws(SyscallFailure) -> Directory { try directory.open(FileName(id: id)) }

    /// Makes an empty tree in the directory of a snapshot, with owner 0:0 and mode 0755.
    func makeTree(_ name: FileName, in snapshot: Directory) throws(SyscallFailure) -> Directory {
        try snapshot.makeDirectory(name, mode: 0o755)
        let tree = try snapshot.open(name)
        if !Process.ownsNewFilesAsRoot { try tree.file.setOwner(uid: 0, gid: 0) }
        return tree
    }

    /// Makes all kinds of files that layers consist of, in a directory that is removed again.
    ///
    /// - Returns: the form in which whiteouts can be made, and whether the file system records the types of entries.
    func tryLayers() throws -> (form: WhiteoutForm, recordsTypes: Bool) {
        let name = FileName(literal: ".probe-\(UInt32.random(in: .min ... .max))")
        defer { try? directory.removeTree(name) }
        try directory.makeDirectory(name, mode: 0o700)
        let probe = try directory.open(name)
        return (try probe.probeWhiteoutForm(), try probe.recordsTypes())
    }
}

extension StoreFailure {
    /// The reason why a snapshotter cannot work.
    init(unable cause: any Error, _ backend: any SnapshotBackend.Type, at path: FilePath, hint: String) {
        let failure = cause as? SyscallFailure
        if let failure, failure.isDiskFault {
            self.init(failure, "cannot write to the store")
        } else if let failure, failure.isPermission, failure.call.hasSuffix("setxattr") {
            self.init(
                .system(failure), "layers cannot be written: \(cause)",
                hint: "overlay's own attributes need root with CAP_SYS_ADMIN, as in a privileged container")
        } else {
            self.init(
                .unavailable, "\(backend.name) cannot keep snapshots under \(escaped(path)): \(cause)",
                hint: hint)
        }
    }
}

extension FileName {
    /// The name of a snapshot's directory.
    init(id: Int64) { self.init(literal: "\(id)") }
}
