package import SystemPackage

/// A mount as somebody else describes it: containerd's snapshotters, by the fields of `containerd.types.Mount`.
package struct ForeignMount: Hashable, Sendable {
    /// What the kernel calls the type of file system, or a word that only containerd knows.
    package let type: String
    package let source: String
    /// Below the mount point; empty for the mount point itself.
    package let target: String
    /// fstab-style, each as it would stand in the data of mount(2): overlay's paths are escaped.
    package let options: [String]

    package init(type: String, source: String, target: String = "", options: [String] = []) {
        self.type = type
        self.source = source
        self.target = target
        self.options = options
    }

    /// A mount of ours, as containerd is told of it.
    package init(_ mount: Mount) {
        self.init(type: mount.type, source: mount.source, options: mount.containerdOptions)
    }
}

/// The tree that foreign mounts show, as far as it can be had without mounting them where others see it.
package enum ForeignTree: Hashable, Sendable {
    /// No mount: nothing is there.
    case none
    /// Layers on top of each other, at least one lower, the topmost first. `upper` takes what is written; without one nothing
    /// may be. With `userAttributes` overlay's marks are in `user.overlay.*`.
    case overlay(lowers: [FilePath], upper: FilePath?, userAttributes: Bool)
    /// One directory that holds the whole tree.
    case directory(FilePath, isReadOnly: Bool)
    /// A file system of its own on a block device or in a file, with its own options.
    case fileSystem(type: String, source: FilePath, isReadOnly: Bool, options: [MountOption])

    package enum Failure: Error, Hashable, Sendable {
        /// Somebody else may be able to, this program is not.
        case unsupported(String)
        /// Nobody can mount that.
        case invalid(String)
    }
}

/// `key` or `key=value`.
package struct MountOption: Hashable, Sendable {
    package let key: String
    /// Nil for a flag.
    package let value: String?

    package init(_ text: String) {
        let parts = text.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
        key = parts.first.map(String.init) ?? ""
        value = parts.count > 1 ? String(parts[1]) : nil
    }
}
