internal import Kernel
internal import Mounts
internal import SystemPackage

/// Snapshots as directories for overlay: `overlayfs/<id>/fs` carries the layer, `work` beside it is the
/// kernel's while the snapshot is active.
///
/// A backend makes, seals and describes one snapshot's directory; it knows nothing of names, rows and
/// transactions.
struct OverlayBackend: Sendable {
    static let name = "overlayfs"
    static let fs = FileName(literal: "fs")
    private static let work = FileName(literal: "work")

    /// `ROOT/overlayfs`.
    let path: FilePath
    let folder: Directory

    /// Makes the directory of a new snapshot. The root of its tree looks like its parent's: overlay shows the
    /// topmost root, so that a fresh one would change `/`.
    func make(_ id: Int64, on parent: Int64?) throws(SyscallFailure) -> Directory {
        let name = FileName(id: id)
        try folder.makeDirectory(name, mode: 0o700)
        let snapshot = try folder.open(name)
        try snapshot.makeDirectory(Self.fs, mode: 0o755)
        try snapshot.makeDirectory(Self.work, mode: 0o711)
        let root = try snapshot.open(Self.fs)
        if let parent {
            let below = try tree(of: parent)
            try root.takeMetadata(of: below, try below.file.status())
        }
        return root
    }

    /// The directory with a snapshot's tree.
    func tree(of id: Int64) throws(SyscallFailure) -> Directory {
        try folder.open(FileName(id: id)).open(Self.fs)
    }

    /// Turns an active snapshot's directory into a committed one's.
    func seal(_ id: Int64) throws(SyscallFailure) {
        try folder.open(FileName(id: id)).removeTree(Self.work)
    }

    /// Whether a snapshot of these ids can be mounted writable, and how it is mounted.
    ///
    /// - Parameter chain: committed snapshots, topmost first.
    func mount(active: Int64?, on chain: [Int64]) -> Mount {
        let lowers = chain.map { path.appending("\($0)").appending("fs") }
        guard let active else {
            // Overlay refuses a single lower without an upper.
            if lowers.count == 1 { return .bind(source: lowers[0], readOnly: true) }
            return .overlay(
                lowers: lowers, writable: nil, userAttributes: false, noIndex: Self.hasIndexParameter)
        }
        let own = path.appending("\(active)")
        if lowers.isEmpty { return .bind(source: own.appending("fs"), readOnly: false) }
        let writable = Mount.Writable(upper: own.appending("fs"), work: own.appending("work"))
        return .overlay(
            lowers: lowers, writable: writable, userAttributes: false, noIndex: Self.hasIndexParameter)
    }

    /// Where the parameter exists the index may be on by default, and would tie an upper to its lowers by
    /// file handle.
    private static let hasIndexParameter =
        (try? File.open("/sys/module/overlay/parameters/index", .read)) != nil

    // MARK: Can it work here

    /// In which form whiteouts can be made here.
    ///
    /// - Throws: `.unavailable` with the reason, for file systems that cannot hold layers.
    func probe() throws(StoreFailure) -> WhiteoutForm {
        let probe = FileName(literal: ".probe-\(UInt32.random(in: .min ... .max))")
        do throws(SyscallFailure) {
            defer { try? folder.removeTree(probe) }
            try folder.makeDirectory(probe, mode: 0o700)
            let directory = try folder.open(probe)
            try directory.mark(.opaque)
            do throws(SyscallFailure) {
                try directory.makeWhiteout(FileName(literal: "device"), .device)
                return .device
            } catch let refusal {
                guard KernelRelease.current >= Self.firstWithAttributes, !refusal.isOutOfSpace else {
                    throw refusal
                }
                try directory.makeWhiteout(FileName(literal: "attribute"), .attribute)
                return .attribute
            }
        } catch {
            if error.isOutOfSpace { throw StoreFailure(error, "cannot write to the store") }
            if error.isPermission, error.call.hasSuffix("setxattr") {
                throw StoreFailure(
                    .system(error), "overlay layers cannot be written: \(error)",
                    hint:
                        "overlay's own attributes need root with CAP_SYS_ADMIN, as in a privileged container")
            }
            throw StoreFailure(
                .unavailable, "overlay layers cannot be kept under \(escaped(path)): \(error)",
                hint: """
                    put the store on ext4, xfs, btrfs or tmpfs with --root DIR; on an overlay file system, as inside a \
                    container, whiteouts can be made from Linux 6.7 on
                    """)
        }
    }

    /// Whiteouts as attributes (kernel: overlayfs.rst, "Nesting overlayfs mounts").
    private static let firstWithAttributes = KernelRelease(major: 6, minor: 7)
}

extension FileName {
    /// The directory of a snapshot.
    init(id: Int64) { self.init(literal: "\(id)") }
}
