internal import Archive
package import Kernel
package import Layers
package import OCI
internal import Streams

/// The effect of each layer of an image on one path.
package struct PathHistory: Sendable {
    /// The file at the path after a layer was applied.
    package struct State: Sendable {
        /// Distinguishes a file from others at the path.
        private enum Identity: Equatable {
            case file(ImageTree.FileID)
            case content(ImageTree.Content, ContentDigest?)
        }

        private let identity: Identity
        package let file: ImageTree.File

        /// - Parameter sharesFiles: whether the tree has the file of an earlier state under the same ID unless it was
        ///   replaced. If not, the tree was read with digests, and files are the same if their content is.
        init?(of path: [FileName], in tree: ImageTree, sharesFiles: Bool) {
            guard let id = tree.lookUp(path) else { return nil }
            file = tree[id]
            identity = sharesFiles ? .file(id) : .content(file.content, tree.contentDigest(of: id))
        }

        func isSameFile(as other: State) -> Bool { identity == other.identity }

        /// Leaves out the access time, which reading changes.
        func hasSameMetadata(as other: State) -> Bool {
            var metadata = file.metadata
            metadata.accessTime = other.file.metadata.accessTime
            return metadata == other.file.metadata
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
                if !before.isSameFile(as: after) {
                    .replaced
                } else if !before.hasSameMetadata(as: after) {
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
    /// The file at the path in the image; nil if it does not exist there.
    package let result: State?
    /// Number of names of that file; nil if it is not known.
    package let links: Int?
    /// Whether layers were read, and not only compared.
    package let hasEntries: Bool

    /// - Parameter layers: all layers of the image, the lowest first.
    init(of path: [FileName], _ layers: [Layer], links: Int?, hasEntries: Bool) {
        self.path = path
        self.hasEntries = hasEntries
        self.layers = layers.filter(\.isOfInterest)
        result = layers.last?.after
        self.links = result == nil ? nil : links
    }

    /// Whether the path is not in the image and no layer has an entry for it.
    package var isEmpty: Bool { layers.isEmpty && result == nil }

    /// The path, escaped for output.
    package var absolutePath: String { Unpacking.absolutePath(path) }
}

/// An absolute path, escaped for output.
func absolutePath(_ path: [FileName]) -> String { "/" + path.map(\.description).joined(separator: "/") }
