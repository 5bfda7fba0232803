internal import Archive
package import Kernel
package import Layout
package import OCI

/// Receives the contents of files of an image, one after the other.
package protocol ContentSink {
    /// - Parameter size: in bytes, holes included.
    mutating func begin(_ file: ImageTree.FileID, size: Int64) throws
    /// Writes data. What lies between two calls is a hole.
    ///
    /// - Returns: false if the data are not those that the tree describes.
    mutating func write(_ bytes: RawSpan, at offset: Int64) throws -> Bool
    /// - Returns: false if data are missing.
    mutating func end() throws -> Bool
}

extension ImageTree {
    /// Reads the contents of files that come from a layer, in the order of the layer's entries, and verifies the layer
    /// again.
    ///
    /// - Parameters:
    ///   - files: those of other layers, and what is not a regular file, are ignored.
    ///   - sink: what it has received is verified when this returns.
    /// - Throws: `LayerFailure`, also for an error of the sink.
    package func readContents(
        of files: some Sequence<FileID>, from step: LayerStep, in layout: ImageLayout, budget: Budget,
        cancellation: Cancellation, into sink: inout some ContentSink,
        progress: @escaping @Sendable (Int64) -> Void = { _ in }
    ) throws(LayerFailure) {
        do {
            let account = Budget.Account(budget)
            var visitor = ContentVisitor(
                tree: self, wanted: entries(of: step, for: files), sink: sink, cancellation: cancellation)
            try LayerStream(step, of: layout, account, cancellation: cancellation).read(
                into: &visitor, progress)
            account.keep()
            sink = visitor.sink
        } catch {
            throw LayerFailure.wrapping(error)
        }
    }

    /// Whether any of these files has content that comes from a layer.
    package func hasContents(of files: some Sequence<FileID>, from step: LayerStep) -> Bool {
        !entries(of: step, for: files).isEmpty
    }

    /// The regular files among these whose content comes from a layer, by the number of their entry.
    private func entries(of step: LayerStep, for files: some Sequence<FileID>) -> [Int32: FileID] {
        var entries = [Int32: FileID]()
        for id in files where self[id].content.isRegular {
            let origin = self[id].origin
            if Int(origin.layer) == step.number, let entry = origin.entry { entries[entry] = id }
        }
        return entries
    }
}

/// Passes the contents of the wanted files of a layer to a sink.
private struct ContentVisitor<Sink: ContentSink>: LayerVisitor {
    private let tree: ImageTree
    private let wanted: [Int32: ImageTree.FileID]
    private(set) var sink: Sink
    private let cancellation: Cancellation
    private var entries: Int32 = 0
    private var written = 0

    init(tree: ImageTree, wanted: [Int32: ImageTree.FileID], sink: Sink, cancellation: Cancellation) {
        self.tree = tree
        self.wanted = wanted
        self.sink = sink
        self.cancellation = cancellation
    }

    mutating func take(_ entry: Entry, from reader: inout LayerReader) throws {
        defer { entries += 1 }
        guard let id = wanted[entries] else { return }
        // The content is verified at the end of the layer. An entry that differs from the first reading ends it
        // earlier.
        guard case .regular(let size) = entry.content, tree[id].content == .regular(size: size) else {
            throw Self.changed
        }
        try sink.begin(id, size: size)
        var isExpected = true
        while isExpected,
            try reader.nextData({ (offset: Int64, bytes: RawSpan) throws in
                // The reader of the output may be slow, so that a large file takes long.
                try cancellation.check()
                isExpected = try sink.write(bytes, at: offset)
            })
        {}
        guard try sink.end(), isExpected else { throw Self.changed }
        written += 1
    }

    func endEntries() throws {
        if written != wanted.count { throw Self.changed }
    }

    private static var changed: LayerFailure {
        LayerFailure(.refused("the layer has changed since it was read"))
    }
}
