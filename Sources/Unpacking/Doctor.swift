internal import ErofsFiles
internal import Kernel
internal import Mounts
internal import Snapshots
package import SystemPackage

/// Checks what this machine provides for unpacking, and suggests remedies for what is missing.
package struct Doctor: Sendable {
    /// The result of one check.
    package struct Finding: Sendable {
        package enum State: String, Sendable {
            case ok
            /// The program works, with a restriction.
            case limited
            /// The program cannot unpack here.
            case missing
        }

        package let name: String
        package let state: State
        package let detail: String
        /// What the user can do; nil if nothing is needed or known.
        package let remedy: String?
    }

    private let root: FilePath
    private let libraries: String
    private let snapshotter: String
    private let pool: String?

    /// - Parameters:
    ///   - libraries: names and versions of the libraries that the program uses.
    ///   - snapshotter: the one in use; some have checks of their own.
    ///   - pool: the thin pool for thin devices.
    package init(root: FilePath, libraries: String, snapshotter: String, pool: String?) {
        self.root = root
        self.libraries = libraries
        self.snapshotter = snapshotter
        self.pool = pool
    }

    package static let missingProcMessage = "/proc is not mounted, or is not this process's"
    package static let missingProcHint = "mount it: mount -t proc proc /proc"

    package func run() -> [Finding] {
        guard Process.hasProc else {
            // The other checks read privileges and mounts from /proc, and would be wrong.
            return [
                Finding(
                    name: "/proc", state: .missing, detail: Self.missingProcMessage,
                    remedy: Self.missingProcHint)
            ]
        }
        return [kernel, rights] + namespaces + [
            mountCalls, overlay, appended, userAttributes, attributeWhiteouts,
        ]
            + [mappedMounts, landlock] + store + volumes + [temporary] + programs
            + [Finding(name: "libraries", state: .ok, detail: libraries, remedy: nil)]
    }

    // MARK: Rights

    private var kernel: Finding {
        let release = KernelRelease.current
        let isOld = release < .minimum
        return Finding(
            name: "kernel", state: isOld ? .missing : .ok, detail: "Linux \(release)",
            remedy: isOld ? Self.newerKernel : nil)
    }

    private static let newerKernel = "use Linux \(KernelRelease.minimum) or later"

    private var rights: Finding {
        let privileges = Privileges.current
        if privileges.hasTrustedAttributes, Process.effectiveUserID == 0 {
            return Finding(name: "rights", state: .ok, detail: "root", remedy: nil)
        }
        if privileges.canMount, Process.effectiveUserID == 0 {
            let ids = privileges.idCount
            return Finding(
                name: "rights", state: ids > 1 ? .ok : .limited,
                detail:
                    "root of a user namespace with \(ids) \(ids == 1 ? "id: other owners are stored in user.rootlesscontainers" : "ids")",
                remedy: ids > 1 ? nil : Self.giveIDs)
        }
        if Process.effectiveUserID == 0 {
            return Finding(
                name: "rights", state: .missing, detail: "root without CAP_SYS_ADMIN: nothing can be mounted",
                remedy:
                    "start the container with --privileged or --cap-add SYS_ADMIN, or unpack with --output DIR"
            )
        }
        return Finding(
            name: "rights", state: .missing, detail: "an ordinary user, and no user namespace can be created",
            remedy: "run it as root, or see below")
    }

    private static let giveIDs =
        "install newuidmap (Debian: uidmap) and give ids: sudo usermod --add-subuids 100000-165535 --add-subgids 100000-165535 $USER"

    private static let leaveChroot =
        "run it as root, or outside of a chroot: inside, the kernel refuses user namespaces (unshare(2))"

    private var namespaces: [Finding] {
        // Root needs no namespace, and inside a namespace the process is root.
        if Process.effectiveUserID == 0 { return [] }
        return UserNamespace.Kind.allCases.map { kind in
            let name = kind == .subordinate ? "namespace with subordinate ids" : "namespace with one id"
            do throws(UserNamespace.Failure) {
                try UserNamespace.probe(kind)
                return Finding(name: name, state: .ok, detail: "can be created", remedy: nil)
            } catch {
                let restriction = UserNamespace.restriction()
                let remedy =
                    error.isOfUnshare ? Self.leaveChroot : kind == .subordinate ? Self.giveIDs : nil
                return Finding(
                    name: name, state: .limited, detail: restriction?.description ?? "\(error.cause)",
                    remedy: restriction?.remedy ?? remedy)
            }
        }
    }

    // MARK: Kernel

    private func capability(
        _ name: String, _ answer: Bool?, _ yes: String, without: Finding.State = .limited, _ no: String,
        _ remedy: String
    ) -> Finding {
        switch answer {
        case true: Finding(name: name, state: .ok, detail: yes, remedy: nil)
        case false: Finding(name: name, state: without, detail: no, remedy: remedy)
        case nil:
            Finding(name: name, state: .limited, detail: "unknown: the probe is not permitted", remedy: nil)
        }
    }

    private var mountCalls: Finding {
        capability(
            "mount API", KernelProbes.hasMountCalls(), "fsopen, fsconfig, move_mount", without: .missing,
            "missing",
            Self.newerKernel + ", or allow these calls in the container's seccomp profile")
    }

    private var overlay: Finding {
        capability(
            "overlay", KernelProbes.hasOverlay(), "supported",
            "missing: use --snapshotter native, or --output DIR",
            "sudo modprobe overlay")
    }

    private var appended: Finding {
        capability(
            "lowerdir+", MountCalls.takesAppendedLowers(), "up to 500 layers in a line of mount(8)",
            "no: 'unpack mount' mounts images of many layers, as far as their paths fit into 4 KiB",
            "use Linux 6.7 or later")
    }

    private var userAttributes: Finding {
        capability(
            "userxattr", KernelRelease.current >= KernelRelease(major: 5, minor: 11),
            "overlay in user namespaces",
            "no overlay in user namespaces", Self.newerKernel)
    }

    private var attributeWhiteouts: Finding {
        capability(
            "whiteouts as attributes", KernelRelease.current >= KernelRelease(major: 6, minor: 7),
            "a store can be on overlay, as in a container", "a store cannot be on overlay",
            "use Linux 6.7 or later")
    }

    private var mappedMounts: Finding {
        capability(
            "idmapped mounts", KernelProbes.hasMappedMounts(), "supported; not used yet", "no; not used yet",
            Self.newerKernel)
    }

    private var landlock: Finding {
        guard Landlock.isAvailable, let version = Landlock.version else {
            return Finding(
                name: "Landlock", state: .limited,
                detail: "missing: the kernel does not confine what layers write",
                remedy: "use Linux 6.2 or later, with landlock in the kernel's lsm=")
        }
        return Finding(name: "Landlock", state: .ok, detail: "version \(version)", remedy: nil)
    }

    // MARK: Directories

    /// Checks of the store's directory, or of the closest existing directory above it.
    private var store: [Finding] {
        var place = root
        while (try? place.exists()) == false, place.removeLastComponent() {}
        let shown = escaped(root) + (place == root ? "" : " (does not exist yet)")
        do throws(SyscallFailure) {
            let directory = try Directory(opening: place)
            let type = try directory.file.fileSystemType()
            let free = try directory.file.freeBytes()
            let space = Finding(
                name: "store", state: free < Self.littleSpace ? .limited : .ok,
                detail: "\(shown), on \(type), \(decimalSize(free)) free",
                remedy: free < Self.littleSpace
                    ? "free some space, or put the store elsewhere with --root DIR" : nil)
            return [
                space, ownership, whiteouts(in: place, type), erofs(in: directory, place), verity(in: place),
                reflink(in: place),
            ]
        } catch {
            return [
                Finding(
                    name: "store", state: .missing, detail: "\(shown): \(error)",
                    remedy: "choose another directory with --root DIR")
            ]
        }
    }

    /// In bytes.
    private static let littleSpace: Int64 = 1_000_000_000

    /// Whether another user could change the store, or replace it with another one.
    private var ownership: Finding {
        let name = "store's owner"
        if let status = try? File.statusNotFollowing(root) {
            do throws(OwnershipFailure) {
                try Ownership.check(status, is: .directory, at: root)
            } catch {
                return Finding(name: name, state: .missing, detail: "\(error)", remedy: error.hint)
            }
        }
        let exposed = root.exposedAncestors().map { "'\(escaped($0))'" }
        guard exposed.isEmpty else {
            return Finding(
                name: name, state: .limited,
                detail:
                    "other users can rename entries of \(exposed.joined(separator: ", ")), including the store",
                remedy:
                    "with --root DIR, put the store below directories that only root or its own user can write to"
            )
        }
        return Finding(name: name, state: .ok, detail: "no other user can change it", remedy: nil)
    }

    private func whiteouts(in place: FilePath, _ type: String) -> Finding {
        let name = "layers in the store"
        do {
            let layers = try KernelProbes.layers(in: place)
            guard layers.recordsTypes else {
                return Finding(
                    name: name, state: .limited,
                    detail:
                        "the file system does not record the types of directory entries (d_type): no overlayfs",
                    remedy:
                        "use --snapshotter native or loop, or put the store on xfs with ftype=1 or ext4 with filetype"
                )
            }
            switch layers.form {
            case .device:
                return Finding(name: name, state: .ok, detail: "whiteouts as devices", remedy: nil)
            case .attribute:
                return Finding(
                    name: name, state: .limited, detail: "whiteouts as attributes: read-only mounts only",
                    remedy: "put the store on ext4, xfs, btrfs or tmpfs with --root DIR")
            }
        } catch {
            return Finding(
                name: name, state: .missing, detail: "\(error)",
                remedy: "put the store on a file system that supports extended attributes, with --root DIR")
        }
    }

    private func erofs(in directory: Directory, _ place: FilePath) -> Finding {
        let name = "EROFS in the store"
        do {
            switch try ErofsSupport(probing: directory, at: place) {
            case .file: return Finding(name: name, state: .ok, detail: "mounts files", remedy: nil)
            case .loopDevice:
                return Finding(
                    name: name, state: .ok, detail: "mounts files through loop devices", remedy: nil)
            }
        } catch {
            return Finding(
                name: name, state: .limited, detail: "\(error): no --snapshotter erofs",
                remedy:
                    "use Linux 6.4 or later (Debian's 6.1 too) with CONFIG_EROFS_FS, as root of the initial user namespace"
            )
        }
    }

    private func verity(in place: FilePath) -> Finding {
        capability(
            "fs-verity in the store", KernelProbes.hasVerity(in: place), "the kernel protects EROFS images",
            "the kernel does not protect EROFS images; 'unpack verify' finds changes",
            "with --snapshotter erofs, put the store on ext4 with the feature verity, or on btrfs")
    }

    private func reflink(in place: FilePath) -> Finding {
        capability(
            "reflink in the store", KernelProbes.sharesBlocks(in: place), "copies share blocks",
            "copies take space: with --snapshotter native each layer is a full copy",
            "put the store on btrfs or xfs")
    }

    private var temporary: Finding {
        let folder = Process.temporaryFolder
        do throws(SyscallFailure) {
            let file = try File.temporary(in: folder)
            return Finding(
                name: "temporary files", state: .ok,
                detail:
                    "\(escaped(folder)), \(decimalSize(try file.freeBytes())) free, for archives from pipes and compressed ones",
                remedy: nil)
        } catch {
            return Finding(
                name: "temporary files", state: .limited,
                detail: "\(error): archives from pipes and compressed ones cannot be read",
                remedy: "set TMPDIR to a directory that can be written to")
        }
    }

    // MARK: Programs

    /// What the snapshotter in use needs outside of the store's directory.
    private var volumes: [Finding] {
        switch snapshotter {
        case SnapshotStore.thinDevices: [thinPool]
        case SnapshotStore.datasets: [dataset]
        default: []
        }
    }

    private var thinPool: Finding {
        let name = "thin pool"
        guard let pool else {
            return Finding(
                name: name, state: .missing, detail: "none is named; --snapshotter devmapper needs one",
                remedy: Self.makePool)
        }
        guard let fault = SnapshotStore.fault(ofThinPool: pool) else {
            return Finding(name: name, state: .ok, detail: "\(pool) can be written to", remedy: nil)
        }
        return Finding(name: name, state: .missing, detail: fault.reason, remedy: fault.remedy)
    }

    private var dataset: Finding {
        let name = "ZFS dataset"
        if let fault = SnapshotStore.fault(ofDatasetOn: root) {
            return Finding(name: name, state: .missing, detail: fault.reason, remedy: fault.remedy)
        }
        return Finding(name: name, state: .ok, detail: "mounted on \(escaped(root))", remedy: nil)
    }

    private static let makePool = """
        name one with --pool; with LVM: lvcreate --type thin-pool --size 100G --name unpack VG, and --pool VG-unpack-tpool; \
        for a trial: truncate -s 64M meta; truncate -s 20G data; dmsetup create unpack --table "0 41943040 thin-pool \
        $(losetup -f --show meta) $(losetup -f --show data) 128 0 1 error_if_no_space", and --pool unpack
        """

    private var programs: [Finding] {
        [
            ("mount", ["--version"], "for the printed lines", "install util-linux"),
            ("mkfs.ext4", ["-V"], "for --snapshotter loop", "install e2fsprogs"),
            ("newuidmap", [], "for subordinate ids", "install uidmap"),
        ].map { name, arguments, purpose, remedy in
            do throws(SyscallFailure) {
                _ = try Process.run(name, arguments)
                return Finding(name: name, state: .ok, detail: "found, \(purpose)", remedy: nil)
            } catch {
                return Finding(
                    name: name, state: .limited,
                    detail: (error.isMissing ? "not found" : "\(error)") + "; \(purpose)",
                    remedy: error.isMissing ? remedy : UnpackError(error).hint)
            }
        }
    }
}
