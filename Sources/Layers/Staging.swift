internal import Kernel

extension Directory {
    /// Calls `apply` with an empty directory for a layer, and merges the layer into this tree.
    ///
    /// - Parameters:
    ///   - below: as in `merge`.
    ///   - check: as in `merge`.
    func withStagedLayer<Result>(
        mergedOver below: MergedDirectory?, _ marks: OverlayMarks, check: () throws -> Void,
        _ apply: (Directory) throws -> Result
    ) throws -> Result {
        try withStagingDirectory { layer in
            let result = try apply(layer)
            try merge(layer, over: below, marks, check: check)
            return result
        }
    }

    /// Calls `body` with an empty directory, and removes the directory. It is located in this directory, because
    /// files cannot be renamed to another subvolume or file system, and has a name that no layer can use. The times
    /// of this directory are restored.
    func withStagingDirectory<Result>(_ body: (Directory) throws -> Result) throws -> Result {
        try removeTree(.stagedLayer)
        // A layer without an entry for the root takes the times of this directory, which the staging directory changes.
        let before = try file.status()
        let layer = try ensureDirectory(FileName.stagedLayer.description)
        do {
            // It may have inherited a group or an access control list from this directory.
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
    /// The staged layer, in the tree that it will be merged into.
    static let stagedLayer = FileName(literal: ".wh..wh.layer")
}
