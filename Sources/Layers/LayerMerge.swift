package import Kernel

/// Merging of an applied layer into an existing tree, for full-copy backends and for directories that are not empty.
/// The layer is first applied to a directory of its own, as for overlayfs, so that its rules exist only once.
extension Directory {
    /// Moves an applied layer into this tree, a copy of the layers below: deletes what the layer hides, replaces what
    /// it has, and leaves the layer's directory empty.
    ///
    /// Precondition: both are on one file system, and no other process changes them.
    ///
    /// - Throws: `SyscallFailure`; `FileMismatch` as `Directory.takeMetadata`.
    package func merge(_ layer: Directory) throws { try merge(layer, over: nil, .own) }

    /// Moves a layer into the topmost of several layers, so that this one hides what both have hidden.
    ///
    /// - Parameters:
    ///   - below: the directory that the layers below this one show at this path; nil if there is none.
    ///   - check: called during the work; an error that it throws ends the work.
    func merge(
        _ layer: Directory, over below: MergedDirectory?, _ marks: OverlayMarks,
        check: () throws -> Void = {}
    ) throws {
        var merge = LayerMerge(own: self, layer: layer, below: below, marks)
        try merge.run(check)
    }

    fileprivate func removeMark(_ marks: OverlayMarks) throws(SyscallFailure) {
        if try file.extendedAttribute(marks.opaque) != nil { try file.removeExtendedAttribute(marks.opaque) }
    }
}

/// Walk through a tree and the layer that is moved into it, without recursion.
private struct LayerMerge {
    private struct Frame {
        /// Nil for the root.
        let name: FileName?
        /// Status of the layer's directory before entries were moved out of it.
        let metadata: FileStatus
        let opacity: WhiteoutForm.Opacity?
        /// Entries of the layer's directory that are still to be moved.
        var names: [FileName]
        let hasBelow: Bool
    }

    private let marks: OverlayMarks
    private var own: DirectoryStack<Directory>
    private var layer: DirectoryStack<Directory>
    private var below: DirectoryStack<MergedDirectory>
    private let hasBelow: Bool
    private var frames = [Frame]()

    init(own: Directory, layer: Directory, below: MergedDirectory?, _ marks: OverlayMarks) {
        self.marks = marks
        self.own = DirectoryStack(own)
        self.layer = DirectoryStack(layer)
        self.below = DirectoryStack(below ?? MergedDirectory([], marks), weight: below?.layers.count ?? 1)
        hasBelow = below != nil
    }

    mutating func run(_ check: () throws -> Void) throws {
        try enter(nil, hasBelow: hasBelow)
        while let last = frames.indices.last {
            guard let name = frames[last].names.popLast() else {
                try leave()
                continue
            }
            try check()
            let shown = frames[last].hasBelow ? try below.deepest() : nil
            try move(name, of: try layer.deepest(), to: try own.deepest(), over: shown, check)
        }
    }

    private mutating func enter(_ name: FileName?, hasBelow: Bool) throws(SyscallFailure) {
        let layer = try layer.deepest()
        frames.append(
            Frame(
                name: name, metadata: try layer.file.status(), opacity: try layer.opacity(marks),
                names: try layer.names(), hasBelow: hasBelow))
    }

    private mutating func leave() throws {
        let frame = frames.removeLast()
        let own = try own.deepest()
        if frame.hasBelow, frame.opacity == .holdsWhiteouts, try own.opacity(marks) == nil {
            try own.setOpacity(.holdsWhiteouts, marks)
        }
        try own.takeMetadata(of: try layer.deepest(), frame.metadata)
        guard let name = frame.name else { return }
        self.own.pop()
        layer.pop()
        if frame.hasBelow { below.pop() }
        try layer.deepest().removeEmptyDirectory(name)
    }

    private mutating func move(
        _ name: FileName, of layer: Directory, to own: Directory, over below: MergedDirectory?,
        _ check: () throws -> Void
    ) throws {
        guard let status = try layer.status(of: name) else { return }
        if try layer.isWhiteout(name, status, marks) {
            try own.removeTree(name, check: check)
            if try below?.shows(name) == true {
                try layer.rename(name, to: name, in: own)
            } else {
                try layer.removeFile(name)
            }
        } else if status.isDirectory {
            try moveDirectory(name, of: layer, to: own, over: try below?.directory(name), check)
        } else {
            try own.removeTree(name, check: check)
            try layer.rename(name, to: name, in: own)
        }
    }

    /// - Parameter shown: the directory that the layers below show under the same name.
    private mutating func moveDirectory(
        _ name: FileName, of layer: Directory, to own: Directory, over shown: MergedDirectory?,
        _ check: () throws -> Void
    ) throws {
        let child = try layer.open(name)
        let existing = try own.status(of: name)
        if existing?.isDirectory == true, try !child.isOpaque(marks) {
            let existing = try own.open(name)
            let shown = try existing.isOpaque(marks) ? nil : shown
            self.own.push(name, existing)
            self.layer.push(name, child)
            if let shown { self.below.push(name, shown) }
            return try enter(name, hasBelow: shown != nil)
        }
        try own.removeTree(name, check: check)
        // The replaced file or directory has hidden the lower directory, which must not show again.
        if shown == nil {
            try child.removeMark(marks)
        } else if existing != nil {
            try child.setOpacity(.opaque, marks)
        }
        try layer.rename(name, to: name, in: own)
    }
}

extension MergedDirectory {
    fileprivate func shows(_ name: FileName) throws -> Bool {
        if case .missing = try lookUp(name) { return false }
        return true
    }
}
