package import Kernel

/// For file systems whose snapshots are whole trees (native, btrfs), and for layers that come to what is there already: a
/// layer's own directory is made like any other, so that its meaning is decided in one place, and then moved.
extension Directory {
    /// Moves an applied layer into this tree, a copy of the layers below: deletes what it hides, replaces what it has,
    /// and leaves the layer's directory without anything.
    ///
    /// Both lie on one file system, and nobody else changes them.
    package func merge(_ layer: Directory) throws(SyscallFailure) { try merge(layer, over: nil, .own) }

    /// Moves a layer into one that lies on others, so that one layer hides what both did.
    ///
    /// - Parameter below: what those others show at this place; nil if nothing.
    func merge(
        _ layer: Directory, over below: MergedDirectory?, _ marks: OverlayMarks
    ) throws(SyscallFailure) {
        // Before anything is moved out of it.
        let metadata = try layer.file.status()
        let opacity = try layer.opacity(marks)
        for name in try layer.names() {
            guard let status = try layer.status(of: name) else { continue }
            if try layer.isWhiteout(name, status, marks) {
                try removeTree(name)
                if try below?.shows(name) == true {
                    try layer.rename(name, to: name, in: self)
                } else {
                    try layer.removeFile(name)
                }
            } else if status.isDirectory {
                try mergeDirectory(name, of: layer, over: below, marks)
            } else {
                try removeTree(name)
                try layer.rename(name, to: name, in: self)
            }
        }
        if below != nil, opacity == .holdsWhiteouts, try self.opacity(marks) == nil {
            try mark(.holdsWhiteouts, marks)
        }
        try takeMetadata(of: layer, metadata)
    }

    private func mergeDirectory(
        _ name: FileName, of layer: Directory, over below: MergedDirectory?, _ marks: OverlayMarks
    ) throws(SyscallFailure) {
        let child = try layer.open(name)
        let own = try status(of: name)
        let isOpaque = try child.isOpaque(marks)
        let shown = try below?.directory(name)
        if own?.isDirectory == true, !isOpaque {
            let own = try open(name)
            try own.merge(child, over: try own.isOpaque(marks) ? nil : shown, marks)
            try layer.removeEmptyDirectory(name)
        } else {
            try removeTree(name)
            // What this one had there has hidden what shows below.
            if shown == nil {
                try child.removeMark(marks)
            } else if own != nil {
                try child.mark(.opaque, marks)
            }
            try layer.rename(name, to: name, in: self)
        }
    }

    private func removeMark(_ marks: OverlayMarks) throws(SyscallFailure) {
        if try file.extendedAttribute(marks.opaque) != nil { try file.removeExtendedAttribute(marks.opaque) }
    }
}

extension MergedDirectory {
    fileprivate func shows(_ name: FileName) throws(SyscallFailure) -> Bool {
        if case .missing = try lookUp(name) { return false }
        return true
    }

    /// Nil unless a directory shows.
    func directory(_ name: FileName) throws(SyscallFailure) -> MergedDirectory? {
        guard case .directory(let directory) = try lookUp(name) else { return nil }
        return directory
    }
}
