package import Kernel

/// Where an archive says that something goes: checked components, relative to the layer's root. Empty for the
/// root itself.
///
/// Cleaned as text only (`//`, `.`, leading and trailing `/`; `..` goes up and stops at the root): what
/// symlinks make of it is decided by whoever walks it.
package struct EntryPath: Hashable, Sendable, CustomStringConvertible {
    package let components: [FileName]
    /// Whether the archive wrote a `/` at its end, as it does for directories.
    package let hadTrailingSlash: Bool

    /// - Throws: `.unusableName` for an empty name and for a component over 255 bytes; of a whiteout, `.wh.X`, the limit is X's.
    package init(_ bytes: [UInt8]) throws(ArchiveFailure.Reason) {
        guard !bytes.isEmpty else { throw .unusableName("the name is empty") }
        var components = [FileName]()
        for part in bytes.split(separator: UInt8(ascii: "/"), omittingEmptySubsequences: true) {
            if let name = FileName(part) ?? FileName(whiteout: part) {
                components.append(name)
            } else if part.count > FileName.maximumLength {
                throw .unusableName("a component is over 255 bytes long")
            } else if part.contains(0) {
                throw .unusableName("a NUL is in it")
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
