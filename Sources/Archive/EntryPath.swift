package import Kernel

/// A path in an archive: validated components, relative to the layer's root; empty for the root itself.
///
/// Cleaned lexically only: `//`, `.` and leading and trailing `/` are dropped; `..` removes a component and stops at
/// the root. Symlinks are resolved by the code that walks the path.
package struct EntryPath: Hashable, Sendable, CustomStringConvertible {
    package let components: [FileName]
    /// Whether the path in the archive ends in `/`, as those of directories do.
    package let hadTrailingSlash: Bool

    /// - Throws: `.invalidName` for an empty name, a NUL, and a component longer than 255 bytes; for a whiteout
    ///   `.wh.X` the limit applies to X.
    package init(_ bytes: [UInt8]) throws(ArchiveFailure.Reason) {
        guard !bytes.isEmpty else { throw .invalidName("the name is empty") }
        var components = [FileName]()
        for part in bytes.split(separator: UInt8(ascii: "/"), omittingEmptySubsequences: true) {
            if let name = FileName(part) ?? FileName(whiteout: part) {
                components.append(name)
            } else if part.count > FileName.maximumLength {
                throw .invalidName("a component is over 255 bytes long")
            } else if part.contains(0) {
                throw .invalidName("it contains a NUL")
            } else if part.count == 2, !components.isEmpty {
                components.removeLast()
            }
        }
        self.components = components
        hadTrailingSlash = bytes.suffix(1).first == UInt8(ascii: "/")
    }

    package init(_ components: [FileName]) {
        self.components = components
        hadTrailingSlash = false
    }

    package var isRoot: Bool { components.isEmpty }
    package var parent: ArraySlice<FileName> { components.dropLast() }
    package var name: FileName? { components.last }

    package var description: String {
        components.isEmpty ? "/" : components.map(\.description).joined(separator: "/")
    }
}
