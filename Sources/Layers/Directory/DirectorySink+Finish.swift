internal import Archive
internal import Kernel

/// Completion of a layer.
extension DirectorySink {
    /// Writes the whiteouts that hide something, and finalizes every directory, deepest first.
    ///
    /// - Throws: errors of `lowerView`, for which it waits.
    mutating func finish() throws {
        directories.close()
        try finishDirectories()
    }

    /// Completes the layer without the access control lists that name accounts, and reads the accounts of the merged
    /// tree.
    ///
    /// - Throws: as `finish`.
    mutating func readAccounts() throws -> ImageAccounts {
        try finish()
        return try ImageAccounts(of: try lowerView().adding(topLayer: try open(tree.root)))
    }

    mutating func makeWhiteout(of name: FileName, in node: Node) throws {
        try open(node).makeWhiteout(name, format.whiteouts, format.marks)
    }

    mutating func finishDirectory(
        _ node: Node, at path: [FileName], _ metadata: Metadata, _ state: OverlayDirectory
    ) throws {
        holdsWhiteouts = holdsWhiteouts || state.holdsWhiteouts
        var opacity: WhiteoutForm.Opacity?
        if state.isOpaque {
            opacity = .opaque
        } else if format.whiteouts == .attribute,
            state.holdsWhiteouts || (node === tree.root && holdsWhiteouts)
        {
            opacity = .holdsWhiteouts
        }
        // The directory of copied-up files is not part of the layer.
        if node === tree.root { try removeCopiedUpDirectory() }
        try writer.finishDirectory(
            try open(node), metadata, opacity, format.marks, entry: EntryPath(path))
    }
}

extension ImageAccounts {
    init(of tree: LowerView) throws {
        func contents(_ path: String) throws -> [UInt8] {
            try tree.contents(of: path, limit: Int(Self.largestFile)) ?? []
        }
        self.init(passwd: try contents(Self.passwd), group: try contents(Self.group))
    }
}
