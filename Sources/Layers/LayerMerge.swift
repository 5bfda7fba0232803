package import Kernel

/// For file systems whose snapshots are whole trees (native, btrfs): a layer's own directory is made like any other,
/// so that its meaning is decided in one place, and then moved into the tree.
extension Directory {
    /// Moves an applied layer into this tree, a copy of the layers below: deletes what it hides, replaces what it has,
    /// and leaves the layer's directory without anything.
    ///
    /// Both lie on one file system, and nobody else changes them.
    package func merge(_ layer: Directory) throws(SyscallFailure) {
        // Before anything is moved out of it.
        let metadata = try layer.file.status()
        for name in try layer.names() {
            guard let status = try layer.status(of: name) else { continue }
            if try layer.isWhiteout(name, status) {
                try removeTree(name)
                try layer.removeFile(name)
            } else if status.isDirectory {
                try mergeDirectory(name, of: layer)
            } else {
                try removeTree(name)
                try layer.rename(name, to: name, in: self)
            }
        }
        try takeMetadata(of: layer, metadata)
    }

    private func mergeDirectory(_ name: FileName, of layer: Directory) throws(SyscallFailure) {
        let child = try layer.open(name)
        if try status(of: name)?.isDirectory == true, try !child.isOpaque() {
            try open(name).merge(child)
            try layer.removeEmptyDirectory(name)
        } else {
            try removeTree(name)
            try child.removeMark()
            try layer.rename(name, to: name, in: self)
        }
    }

    /// Lends a directory for a layer that will be merged into this tree, then merges it. It lies in the tree, because
    /// nothing can be renamed from one subvolume or file system to another, under a name that no layer can have.
    func merging<Result>(_ apply: (Directory) throws -> Result) throws -> Result {
        try removeTree(.stagedLayer)
        // What the layer does not list keeps the metadata that it has below, its root too.
        let below = try file.status()
        let layer = try ensureDirectory(FileName.stagedLayer.description)
        try file.setTimes(access: below.accessTime, modification: below.modificationTime)
        let result = try apply(layer)
        try merge(layer)
        let merged = try file.status()
        try removeEmptyDirectory(.stagedLayer)
        try file.setTimes(access: merged.accessTime, modification: merged.modificationTime)
        return result
    }

    private func removeMark() throws(SyscallFailure) {
        if try file.extendedAttribute(WhiteoutForm.opaqueMark) != nil {
            try file.removeExtendedAttribute(WhiteoutForm.opaqueMark)
        }
    }
}

extension FileName {
    /// Where a layer lies in the tree that it will be merged into.
    static let stagedLayer = FileName(literal: ".wh..wh.layer")
}
