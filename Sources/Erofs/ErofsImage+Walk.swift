extension ErofsImage {
    /// Visits all names of an image, each directory before its content.
    ///
    /// It ends for every image: a directory is entered only from the parent that it names as `..`, so that there is no
    /// cycle, and the number of names is limited to what fits into the image.
    package struct Walk {
        private struct Level {
            let directory: Node
            let blockCount: UInt64
            var nextBlock: UInt64 = 0
            var previous = [UInt8]()
            var entries = [Entry]().makeIterator()
        }

        private let image: ErofsImage
        private var levels = [Level]()
        private var pending: Node?
        private var remaining: UInt64

        /// Begins with the content of a directory.
        package init(_ image: ErofsImage, from directory: Node) {
            self.image = image
            pending = directory
            remaining = image.length / UInt64(Format.direntSize + 1)
        }

        /// Number of directories that contain the name that was returned last: 1 for the content of the first directory.
        package var depth: Int { levels.count }

        /// Returns the next name and its node; nil at the end. If the node is a directory, its content follows.
        package mutating func next() throws -> (name: [UInt8], node: Node)? {
            if let directory = pending {
                if let parent = levels.last?.directory.id {
                    // The root, which is its own parent, is entered only at the start.
                    guard directory.id != parent, try image.parent(of: directory) == parent else {
                        throw ErofsError.corrupt(.parent, node: directory.id)
                    }
                }
                levels.append(Level(directory: directory, blockCount: try image.blockCount(of: directory)))
                pending = nil
            }
            while !levels.isEmpty {
                let top = levels.count - 1
                if let entry = levels[top].entries.next() {
                    let node = try image.node(of: entry)
                    if node.kind == .directory { pending = node }
                    return (entry.name, node)
                }
                guard levels[top].nextBlock < levels[top].blockCount else {
                    levels.removeLast()
                    continue
                }
                let entries = try image.entries(
                    in: levels[top].directory, block: levels[top].nextBlock, after: &levels[top].previous)
                guard UInt64(entries.count) <= remaining else { throw ErofsError.corrupt(.tree, node: nil) }
                remaining -= UInt64(entries.count)
                levels[top].nextBlock += 1
                levels[top].entries = entries.makeIterator()
            }
            return nil
        }
    }
}
