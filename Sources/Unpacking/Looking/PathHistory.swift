internal import Archive
package import Kernel
package import Layers
package import OCI

/// What each layer of an image has done about one path.
package struct PathHistory: Sendable {
    /// What a path is after a layer.
    package struct State: Sendable {
        package let id: ImageTree.FileID
        package let file: ImageTree.File

        init?(of path: [FileName], in tree: ImageTree) {
            guard let id = tree.lookUp(path) else { return nil }
            self.id = id
            file = tree[id]
        }
    }

    package enum Change: String, Sendable {
        /// It was not there before.
        case added
        /// Hidden, or its directory was.
        case removed
        /// Another file.
        case replaced
        /// The same file or directory with other metadata.
        case changed
        /// Something was said about it, and it is as before.
        case unchanged
    }

    /// One layer that has said anything about it.
    package struct Layer: Sendable {
        package let step: LayerStep
        /// In the order of the archive.
        package let touches: [PathTouch]
        package let before: State?
        package let after: State?

        init(step: LayerStep, of path: [FileName], touches: [PathTouch], before: State?, after: State?) {
            self.step = step
            self.before = before
            self.after = after
            // That a directory on the way is listed says nothing about what is in it.
            self.touches = touches.filter { touch in
                if case .directory = touch.what { return touch.path.count == path.count }
                return true
            }
        }

        package var change: Change {
            switch (before, after) {
            case (nil, nil): .unchanged
            case (nil, _): .added
            case (_, nil): .removed
            case (let before?, let after?):
                if before.id != after.id {
                    .replaced
                } else if before.file.metadata != after.file.metadata {
                    .changed
                } else {
                    .unchanged
                }
            }
        }

        var isOfInterest: Bool { change != .unchanged || !touches.isEmpty }
    }

    /// Where it leads in the end, symlinks on the way followed.
    package let path: [FileName]
    /// The lowest first.
    package let layers: [Layer]
    /// The whole image.
    package let tree: ImageTree

    /// What is there at the end; nil for nothing.
    package var verdict: State? { State(of: path, in: tree) }
}
