internal import Kernel
internal import SystemPackage

extension ContainerdTree {
    /// Reads the mounts that containerd describes as the tree that they would show. No mount is performed.
    ///
    /// - Throws: `.unsupported` for mounts that only containerd can perform, or that mean more than `ContainerdTree`
    ///   can express; `.invalid` for mounts that cannot be performed at all.
    package init(_ mounts: [ContainerdMount]) throws(Failure) {
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
                throw .invalid("a mount without a type that is not a bind mount")
            }
            if let option = own.first {
                throw .unsupported("the option '\(printable(option.key))' of a bind mount")
            }
            self = .directory(try Self.path(mount.source, "source"), isReadOnly: flags.isReadOnly)
        case let type where fileSystems.contains(type) && !flags.isBind:
            // The file system spans more devices than the source names.
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

    private static func overlay(_ options: [MountOption], _ flags: Flags) throws(Failure) -> ContainerdTree {
        var lowers = [FilePath]()
        var upper: FilePath?
        var userAttributes = false
        for option in options {
            let value = option.value ?? ""
            switch option.key {
            case "lowerdir":
                guard lowers.isEmpty else { throw .invalid("lowerdir is given more than once") }
                for part in splitAtColons(value) {
                    // `::` precedes data-only layers: their paths stay hidden (kernel: overlayfs.rst, "Data-only").
                    if part.isEmpty { throw .unsupported("data-only lower layers") }
                    lowers.append(try path(unescaped(part), "lowerdir"))
                }
            // The kernel takes this value without unescaping it.
            case "lowerdir+": lowers.append(try path(value, "lowerdir+"))
            case "upperdir": upper = try path(unescaped(value[...]), "upperdir")
            case "workdir": _ = try path(unescaped(value[...]), "workdir")
            case "userxattr": userAttributes = true
            case let key where ignoredOptions.contains(key): break
            // Other values make overlay record more than whiteouts and opaque directories in its attributes.
            case "metacopy" where value == "off", "redirect_dir" where value == "off" || value == "nofollow":
                break
            default: throw .unsupported("overlay's option '\(printable(option.key))'")
            }
        }
        // The whiteouts of an upper directory mean nothing without the lower layers.
        guard !lowers.isEmpty else { throw .unsupported("an overlay without lower layers") }
        if flags.isReadOnly, let shown = upper {
            lowers.insert(shown, at: 0)
            upper = nil
        }
        return .overlay(lowers: lowers, upper: upper, userAttributes: userAttributes)
    }

    /// Options that change how overlay works, but not what a tree contains.
    private static let ignoredOptions: Set<String> = [
        "index", "volatile", "fsync", "xino", "nfs_export", "uuid", "default_permissions",
    ]

    /// Splits a value at the colons that no backslash escapes.
    private static func splitAtColons(_ text: String) -> [Substring] {
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

    /// Removes the backslashes that escape the following character (kernel: overlayfs.rst, "Multiple lower layers").
    private static func unescaped(_ text: Substring) -> String {
        var result = ""
        var isEscaped = false
        for character in text {
            isEscaped = !isEscaped && character == "\\"
            if !isEscaped { result.append(character) }
        }
        return result
    }

    /// - Parameter name: the option or field that `text` is the value of, for the message.
    private static func path(_ text: String, _ name: String) throws(Failure) -> FilePath {
        guard text.hasPrefix("/"), !text.utf8.contains(0) else {
            throw .invalid("\(name) '\(printable(text))' is not an absolute path")
        }
        return FilePath(text)
    }
}

/// File systems that use a single block device.
private let fileSystems: Set<String> = [
    "ext2", "ext3", "ext4", "xfs", "btrfs", "f2fs", "erofs", "squashfs",
]
/// Options that name a further device (erofs, btrfs, xfs(5), ext4(5)). Such a device would not be checked as the source
/// is.
private let otherDevices: Set<String> = ["device", "logdev", "rtdev", "journal_path", "journal_dev"]
private let alwaysReadOnly: Set<String> = ["erofs", "squashfs"]

/// The options that mount(8) accepts for every file system ("FILESYSTEM-INDEPENDENT MOUNT OPTIONS").
private struct Flags {
    var isReadOnly = false
    var isBind = false

    /// Records a general option.
    ///
    /// - Returns: the option itself if it belongs to the file system.
    /// - Throws: `.invalid` for options that only apply to existing mounts; `.unsupported` for ID mappings and options
    ///   that containerd's mount manager evaluates.
    mutating func take(_ text: String) throws(ContainerdTree.Failure) -> [MountOption] {
        switch text {
        case "ro": isReadOnly = true
        case "rw": isReadOnly = false
        case "bind", "rbind": isBind = true
        case "remount", "move": throw .invalid("the option '\(text)' of a new mount")
        case let text where Self.ignoredOptions.contains(text): break
        default:
            let option = MountOption(text)
            // ID-mapped mounts, and instructions for containerd's mount manager.
            if ["uidmap", "gidmap"].contains(option.key) || text.hasPrefix("X-containerd.") {
                throw .unsupported("the option '\(printable(option.key))'")
            }
            return [option]
        }
        return []
    }

    /// Options that do not change the content of a tree. This program executes nothing from it, and sets file times
    /// explicitly.
    private static let ignoredOptions: Set<String> = [
        "", "defaults", "loop", "direct-io", "async", "sync", "dirsync", "atime", "noatime", "diratime",
        "nodiratime", "relatime", "norelatime", "strictatime", "nostrictatime", "lazytime", "nolazytime",
        "dev",
        "nodev", "exec", "noexec", "suid", "nosuid", "mand", "nomand", "silent", "loud", "private",
        "rprivate",
        "slave", "rslave", "shared", "rshared", "unbindable", "runbindable",
    ]
}

private func printable(_ text: String) -> String { escaped(text.utf8) }
