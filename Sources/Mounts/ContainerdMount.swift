package import SystemPackage

/// A mount that another program describes, with the fields of `containerd.types.Mount`.
package struct ContainerdMount: Hashable, Sendable {
    /// The kernel's name of the file system type, or a type that only containerd knows.
    package let type: String
    package let source: String
    /// A path below the mount point; empty for the mount point itself.
    package let target: String
    /// Options as in fstab(5), each as it would appear in the data of mount(2): overlay's paths are escaped.
    package let options: [String]

    package init(type: String, source: String, target: String = "", options: [String] = []) {
        self.type = type
        self.source = source
        self.target = target
        self.options = options
    }

    /// Describes a mount of this program with the options that containerd expects.
    package init(_ mount: Mount) {
        self.init(type: mount.type, source: mount.source, options: mount.containerdOptions)
    }
}

/// The tree that mounts of another program show, as far as it can be opened without attaching a mount.
package enum ContainerdTree: Hashable, Sendable {
    /// No mount: the tree is empty.
    case none
    /// Layers of an overlay, at least one lower, topmost first. Writes go to `upper`; without one the tree is
    /// read-only. With `userAttributes`, overlay's attributes are in the `user.overlay.*` namespace.
    case overlay(lowers: [FilePath], upper: FilePath?, userAttributes: Bool)
    /// A single directory that contains the whole tree.
    case directory(FilePath, isReadOnly: Bool)
    /// A file system on a block device or in an image file, with its own mount options.
    case fileSystem(type: String, source: FilePath, isReadOnly: Bool, options: [MountOption])

    package enum Failure: Error, Hashable, Sendable {
        /// Only another program, e.g. containerd, can perform these mounts, for the given reason.
        case unsupported(String)
        /// The mounts contradict themselves, or lack what every mount needs, for the given reason.
        case invalid(String)
    }
}

/// `key` or `key=value`.
package struct MountOption: Hashable, Sendable {
    package let key: String
    /// Nil for an option without a value.
    package let value: String?

    package init(_ text: String) {
        let parts = text.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
        key = parts.first.map(String.init) ?? ""
        value = parts.count > 1 ? String(parts[1]) : nil
    }
}
