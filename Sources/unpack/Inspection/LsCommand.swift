internal import Archive
internal import ArgumentParser
internal import Kernel
internal import Layers
internal import Programs
internal import Streams
internal import Unpacking

/// Lists files of an image without unpacking it.
struct LsCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "ls",
        abstract: "List files of an image: mode, owner, size, time (UTC), name. Writes nothing.",
        discussion: """
            Reads and verifies every layer; needs no root. For a directory, its content is listed; for anything else, the \
            file itself. A '+' after the mode stands for extended attributes; --json prints them.

            \(pathDiscussion)
            """)

    @Argument(help: imageHelp)
    var image: String

    @Argument(help: "The path to list.")
    var path: String = "/"

    @Flag(name: [.customShort("R"), .long], help: "List everything below the path, with absolute paths.")
    var recursive = false

    @Flag(help: "Print one JSON object per line.")
    var json = false

    @OptionGroup var selection: SelectionOptions
    @OptionGroup var verbosity: LogOptions

    func run() throws {
        let opened = try openImage(image, selection)
        let (tree, cancellation) = try inspect(verbosity) { inspector, cancellation in
            (try inspector.tree(of: opened), cancellation)
        }
        let start = try resolve(in: tree)
        try print(of: tree) { body in
            // A table walks the tree twice, first for the column widths: all paths of a hostile image do not fit in
            // memory.
            func take(_ item: ImageTree.Item, _ name: String) throws {
                try attempt { try cancellation.check() }
                try body(item, name)
            }
            if recursive {
                try tree.forEach(from: start) { try take($0, shown($0.path)) }
            } else if tree[start.id].isDirectory {
                for (name, id) in tree.children(of: start.id) {
                    try take(ImageTree.Item(start.treePath.appending(name), id: id), name.description)
                }
            } else {
                try take(start, shown(start.path))
            }
        }
    }

    private func resolve(in tree: ImageTree) throws -> ImageTree.Item {
        switch tree.resolve(unescaped(path)) {
        case .found(let item): return item
        case .missing(let place):
            throw UnpackError(
                .notFound, "the image has no '\(shown(place))'",
                hint: "`unpack why IMAGE PATH` shows whether a layer had it")
        case .tooManyLinks:
            throw UnpackError(.data, "too many symlinks on the path '\(escaped(path.utf8))'")
        }
    }

    /// - Parameter forEach: calls its argument for each file and the name to print, in the same order on every call.
    private func print(
        of tree: ImageTree, _ forEach: ((ImageTree.Item, _ name: String) throws -> Void) throws -> Void
    ) throws {
        var writer = LineWriter()
        if json {
            let links = tree.linkCounts()
            try forEach { item, _ in
                let document = FileDocument(tree[item.id], at: item.path, links: links[item.id])
                try writer.add(try attempt { try encoded(document) })
            }
            return try writer.flush()
        }
        func owner(of file: ImageTree.File) -> String { "\(file.metadata.uid):\(file.metadata.gid)" }
        var hasAttributes = false
        var (ownerWidth, sizeWidth) = (0, 0)
        try forEach { item, _ in
            let file = tree[item.id]
            hasAttributes = hasAttributes || !file.metadata.extendedAttributes.isEmpty
            ownerWidth = max(ownerWidth, owner(of: file).utf8.count)
            sizeWidth = max(sizeWidth, file.content.sizeColumn.utf8.count)
        }
        try forEach { item, name in
            let file = tree[item.id]
            let permissions = file.content.permissions(file.metadata)
            let owner = owner(of: file)
            let size = file.content.sizeColumn
            var line = permissions + spaces((hasAttributes ? 11 : 10) - permissions.count)
            line += " " + owner + spaces(ownerWidth - owner.utf8.count)
            line += " " + spaces(sizeWidth - size.utf8.count) + size
            line += " \(UTC(file.metadata.modificationTime).text) \(name)"
            if case .symlink(let target) = file.content { line += " -> \(escaped(target))" }
            try writer.add(line)
        }
        try writer.flush()
    }

    private func spaces(_ count: Int) -> String { String(repeating: " ", count: max(0, count)) }
}
