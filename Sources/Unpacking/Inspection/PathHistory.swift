internal import Archive
package import Kernel
package import Layers
package import OCI

/// The effect of each layer of an image on one path.
package struct PathHistory: Sendable {
    /// The file at the path after a layer was applied.
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
        /// The path did not exist before.
        case added
        /// The path or one of its directories was hidden or replaced.
        case removed
        /// The path is another file than before.
        case replaced
        /// The same file or directory has other metadata.
        case changed
        /// The layer has an entry for the path, without an effect on it.
        case unchanged
    }

    /// One layer that has an effect on the path or an entry for it.
    package struct Layer: Sendable {
        package let step: LayerStep
        /// In the order of the archive.
        package let events: [PathEvent]
        package let before: State?
        package let after: State?

        init(step: LayerStep, of path: [FileName], events: [PathEvent], before: State?, after: State?) {
            self.step = step
            self.before = before
            self.after = after
            // The entry of a directory on the path does not affect what the directory contains.
            self.events = events.filter { touch in
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

        var isOfInterest: Bool { change != .unchanged || !events.isEmpty }
    }

    /// The path with its symlinks resolved in the merged tree.
    package let path: [FileName]
    /// The lowest first.
    package let layers: [Layer]
    /// The merged tree of the image.
    package let tree: ImageTree

    /// The file at the path in the merged tree; nil if it does not exist there.
    package var result: State? { State(of: path, in: tree) }

    /// Whether the path is not in the image and no layer has an entry for it.
    package var isEmpty: Bool { layers.isEmpty && result == nil }

    /// The path, escaped for output.
    package var absolutePath: String { Unpacking.absolutePath(path) }
}

/// An absolute path, escaped for output.
func absolutePath(_ path: [FileName]) -> String { "/" + path.map(\.description).joined(separator: "/") }
