internal import Kernel
internal import SystemPackage

extension ForeignTree {
    /// What containerd says that it would mount.
    ///
    /// - Throws: `.unsupported` for what only containerd can mount, or mounts with a meaning that is lost here; `.invalid`.
    package init(_ mounts: [ForeignMount]) throws(Failure) {
        guard let mount = mounts.first else {
            self = .none
            return
        }
        guard mounts.count == 1 else { throw .unsupported("\(mounts.count) mounts on top of each other") }
        guard mount.target.isEmpty else { throw .unsupported("a mount with a target of its own") }
        var flags = Flags()
        var own = [MountOption]()
        for option in mount.options { own += try flags.take(option) }
        switch mount.type {
        case "overlay": self = try Self.overlay(own, flags)
        case "bind", "rbind", "none", "":
            guard flags.isBind || mount.type.hasSuffix("bind") else {
                throw .invalid("a mount of no type that is not a bind mount")
            }
            if let option = own.first {
                throw .unsupported("the option '\(printable(option.key))' of a bind mount")
            }
            self = .directory(try Self.path(mount.source, "source"), isReadOnly: flags.isReadOnly)
        case let type where fileSystems.contains(type) && !flags.isBind:
            // More devices than the one.
            if own.contains(where: { otherDevices.contains($0.key) }) {
                throw .unsupported("a file system on several devices")
            }
            self = .fileSystem(
                type: type, source: try Self.path(mount.source, "source"),
                isReadOnly: flags.isReadOnly || alwaysReadOnly.contains(type), options: own)
        case let type: throw .unsupported("a mount of the type '\(printable(type))'")
        }
    }

    // MARK: Overlay

    private static func overlay(_ options: [MountOption], _ flags: Flags) throws(Failure) -> ForeignTree {
        var lowers = [FilePath]()
        var upper: FilePath?
        var userAttributes = false
        for option in options {
            let value = option.value ?? ""
            switch option.key {
            case "lowerdir":
                guard lowers.isEmpty else { throw .invalid("lowerdir is given more than once") }
                for part in split(value) {
                    // `::` stands before layers of which only the content is used (kernel: overlayfs.rst, "Data-only").
                    if part.isEmpty { throw .unsupported("data-only lower layers") }
                    lowers.append(try path(unescaped(part), "lowerdir"))
                }
            // This one the kernel takes as it is.
            case "lowerdir+": lowers.append(try path(value, "lowerdir+"))
            case "upperdir": upper = try path(unescaped(value[...]), "upperdir")
            case "workdir": _ = try path(unescaped(value[...]), "workdir")
            case "userxattr": userAttributes = true
            case let key where harmless.contains(key): break
            // They make overlay keep more in its marks than what is hidden.
            case "metacopy" where value == "off", "redirect_dir" where value == "off" || value == "nofollow":
                break
            default: throw .unsupported("overlay's option '\(printable(option.key))'")
            }
        }
        // What an upper directory hides can only be told by who knows what lies below.
        guard !lowers.isEmpty else { throw .unsupported("an overlay without lower layers") }
        if flags.isReadOnly, let shown = upper {
            lowers.insert(shown, at: 0)
            upper = nil
        }
        return .overlay(lowers: lowers, upper: upper, userAttributes: userAttributes)
    }

    /// They change how overlay works, not what is in a tree.
    private static let harmless: Set<String> = [
        "index", "volatile", "fsync", "xino", "nfs_export", "uuid", "default_permissions",
    ]

    /// The pieces between colons that have no backslash before them.
    private static func split(_ text: String) -> [Substring] {
        var pieces = [Substring]()
        var start = text.startIndex
        var isEscaped = false
        for index in text.indices {
            if isEscaped {
                isEscaped = false
            } else if text[index] == "\\" {
                isEscaped = true
            } else if text[index] == ":" {
                pieces.append(text[start..<index])
                start = text.index(after: index)
            }
        }
        return pieces + [text[start...]]
    }

    /// A backslash stands for what is behind it (kernel: overlayfs.rst, "Multiple lower layers").
    private static func unescaped(_ text: Substring) -> String {
        var result = ""
        var isEscaped = false
        for character in text {
            isEscaped = !isEscaped && character == "\\"
            if !isEscaped { result.append(character) }
        }
        return result
    }

    private static func path(_ text: String, _ name: String) throws(Failure) -> FilePath {
        guard text.hasPrefix("/"), !text.utf8.contains(0) else {
            throw .invalid("\(name) '\(printable(text))' is not an absolute path")
        }
        return FilePath(text)
    }
}

/// File systems that the kernel keeps on one device.
private let fileSystems: Set<String> = [
    "ext2", "ext3", "ext4", "xfs", "btrfs", "f2fs", "erofs", "squashfs",
]
/// Options that name another device (erofs, btrfs, xfs(5), ext4(5)), which would not be checked as the source is.
private let otherDevices: Set<String> = ["device", "logdev", "rtdev", "journal_path", "journal_dev"]
private let alwaysReadOnly: Set<String> = ["erofs", "squashfs"]

/// What is said of any mount (mount(8), "FILESYSTEM-INDEPENDENT MOUNT OPTIONS").
private struct Flags {
    var isReadOnly = false
    var isBind = false

    /// - Returns: the option, if it is the file system's own.
    mutating func take(_ text: String) throws(ForeignTree.Failure) -> [MountOption] {
        switch text {
        case "ro": isReadOnly = true
        case "rw": isReadOnly = false
        case "bind", "rbind": isBind = true
        case "remount", "move": throw .invalid("the option '\(text)' of a new mount")
        case let text where Self.harmless.contains(text): break
        default:
            let option = MountOption(text)
            // Ids of others, and what containerd's own mount manager is to do before.
            if ["uidmap", "gidmap"].contains(option.key) || text.hasPrefix("X-containerd.") {
                throw .unsupported("the option '\(printable(option.key))'")
            }
            return [option]
        }
        return []
    }

    /// They say how a mount may be used. This program runs nothing from it, and sets the times that it wants.
    private static let harmless: Set<String> = [
        "", "defaults", "loop", "direct-io", "async", "sync", "dirsync", "atime", "noatime", "diratime",
        "nodiratime", "relatime", "norelatime", "strictatime", "nostrictatime", "lazytime", "nolazytime",
        "dev",
        "nodev", "exec", "noexec", "suid", "nosuid", "mand", "nomand", "silent", "loud", "private",
        "rprivate",
        "slave", "rslave", "shared", "rshared", "unbindable", "runbindable",
    ]
}

private func printable(_ text: String) -> String { escaped(text.utf8) }
