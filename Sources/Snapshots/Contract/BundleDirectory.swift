package import Kernel
package import SystemPackage

/// The directory of a runtime bundle to which a snapshot belongs. Labels of the snapshot record it.
package struct BundleDirectory: Sendable, Equatable {
    /// Absolute, without symlinks.
    package let path: FilePath
    /// The ID of the file system of its parent directory.
    private let fileSystem: UInt64

    private static let pathLabel = "unpack/bundle"
    private static let fileSystemLabel = "unpack/bundle.filesystem"

    /// - Parameter path: of an existing directory.
    /// - Throws: `SyscallFailure` if its parent cannot be opened.
    package init(at path: FilePath) throws(SyscallFailure) {
        self.path = path
        fileSystem = try Directory(opening: path.removingLastComponent()).file.fileSystemID()
    }

    /// The directory that the labels of a snapshot record; nil if they record none.
    package init?(_ labels: [String: String]) {
        guard let path = labels[Self.pathLabel],
            let fileSystem = labels[Self.fileSystemLabel].flatMap({ UInt64($0, radix: 16) })
        else { return nil }
        self.path = FilePath(path)
        self.fileSystem = fileSystem
    }

    /// Empty for a path that a label cannot have: one that is not UTF-8.
    package var labels: [String: String] {
        guard FilePath(path.string) == path else { return [:] }
        return [Self.pathLabel: path.string, Self.fileSystemLabel: String(fileSystem, radix: 16)]
    }

    /// Whether the directory was removed. False if its file system may only be unmounted: if the closest directory above
    /// that exists is on another one than when the bundle was made.
    package var isGone: Bool {
        guard (try? path.exists()) == false else { return false }
        var ancestor = path
        while ancestor.removeLastComponent() {
            if let directory = try? Directory(opening: ancestor) {
                return (try? directory.file.fileSystemID()) == fileSystem
            }
        }
        return false
    }
}
