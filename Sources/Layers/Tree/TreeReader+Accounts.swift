internal import Archive
internal import Kernel
internal import OCI
internal import Streams

extension TreeReader {
    /// Reads the image's accounts, for access control lists with names, from the layers that contain them.
    ///
    /// - Parameter tree: the merged tree up to the layer with the list.
    func readAccounts(of tree: ImageTree) throws -> ImageAccounts {
        let files = [ImageAccounts.passwd, ImageAccounts.group].map { tree.regularFile(at: $0) }
        var contents = [[UInt8]](repeating: [], count: files.count)
        for (index, file) in files.enumerated() {
            guard let file, let entry = file.origin.entry, let step = step(file.origin.layer) else {
                continue
            }
            var visitor = ContentCollector(entry: entry)
            let account = Budget.Account(budget)
            try LayerStream(step, of: layout, account, cancellation: cancellation).read(into: &visitor) { _ in
            }
            contents[index] = visitor.contents
        }
        return ImageAccounts(passwd: contents[0], group: contents[1])
    }
}

extension ImageTree {
    /// Returns a regular file, as `LowerView.contents` finds it; nil if there is none.
    fileprivate func regularFile(at path: String) -> File? {
        guard case .found(let item) = resolve(Array(path.utf8), followsLast: true),
            case .regular = self[item.id].content
        else { return nil }
        return self[item.id]
    }
}

/// Reads the content of one entry.
private struct ContentCollector: LayerVisitor {
    private let entry: Int32
    private(set) var contents = [UInt8]()
    private var entries: Int32 = 0

    init(entry: Int32) { self.entry = entry }

    mutating func take(_ entry: Entry, from reader: inout LayerReader) throws {
        defer { entries += 1 }
        guard entries == self.entry, case .regular(let size) = entry.content else { return }
        contents = try reader.contents(first: min(size, ImageAccounts.largestFile))
    }

    func endEntries() {}
}
