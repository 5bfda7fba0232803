internal import Kernel

extension Directory {
    /// Lends a directory for a layer, which is then merged into this tree.
    ///
    /// - Parameters:
    ///   - below: as `merge` has it.
    ///   - isWanted: as `merge` has it.
    func merging<Result>(
        over below: MergedDirectory?, _ marks: OverlayMarks, isWanted: () -> Bool,
        _ apply: (Directory) throws -> Result
    ) throws -> Result {
        try staging { layer in
            let result = try apply(layer)
            try merge(layer, over: below, marks, isWanted: isWanted)
            return result
        }
    }

    /// Lends an empty directory, and removes it. It lies in this one, because nothing can be renamed from one subvolume or
    /// file system to another, under a name that no layer can have; the times of this one do not tell.
    func staging<Result>(_ body: (Directory) throws -> Result) throws -> Result {
        try removeTree(.stagedLayer)
        // What the layer does not list keeps the metadata that it has below, its root too.
        let before = try file.status()
        let layer = try ensureDirectory(FileName.stagedLayer.description)
        do {
            // This one may have a group or an access control list to hand down.
            try layer.makePlain()
            try setTimes(before)
            let result = try body(layer)
            let after = try file.status()
            try removeTree(.stagedLayer)
            try setTimes(after)
            return result
        } catch {
            try? removeTree(.stagedLayer)
            try? setTimes(before)
            throw error
        }
    }

    private func setTimes(_ status: FileStatus) throws(SyscallFailure) {
        try file.setTimes(access: status.accessTime, modification: status.modificationTime)
    }
}

extension FileName {
    /// Where a layer lies in the tree that it will be merged into.
    static let stagedLayer = FileName(literal: ".wh..wh.layer")
}
