internal import Archive
internal import Kernel
internal import OCI
internal import Streams

extension TreeReader {
    /// Reads the image's accounts, for access control lists with names, from the layers that contain them.
    ///
    /// - Parameter tree: the merged tree up to the layer with the list.
    func readAccounts(of tree: ImageTree) throws -> ImageAccounts {
        let files = [ImageAccounts.passwd, ImageAccounts.group].map { tree.file(followingLinks: $0) }
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
    /// Resolves the path of a regular file, with the same rules as `LowerView.contents`; nil if there is none.
    fileprivate func file(followingLinks name: String) -> File? {
        var path = Array(name.utf8)
        for _ in 0...TreeLimits.symlinks {
            guard case .found(let item) = resolve(path) else { return nil }
            switch self[item.id].content {
            case .regular: return self[item.id]
            case .symlink(let target):
                let isAbsolute = target.first == UInt8(ascii: "/")
                let directory = item.path.dropLast().flatMap { $0.bytes + [UInt8(ascii: "/")] }
                path = (isAbsolute ? [] : directory) + target
            default: return nil
            }
        }
        return nil
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
