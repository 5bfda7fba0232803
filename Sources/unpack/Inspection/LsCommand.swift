internal import Archive
internal import ArgumentParser
internal import Kernel
internal import Layers
internal import Programs
internal import Streams
internal import Unpacking

/// What an image shows, without unpacking it.
struct LsCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "ls",
        abstract: "List files of an image: mode, owner, size, time (UTC), name. Writes nothing.",
        discussion: """
            Every layer is read and verified; no root is needed. A directory is listed with what is in it, anything else \
            by itself. A '+' behind the mode stands for extended attributes, which --json tells.

            \(pathDiscussion)
            """)

    @Argument(help: imageHelp)
    var image: String

    @Argument(help: "What to list.")
    var path: String = "/"

    @Flag(name: [.customShort("R"), .long], help: "List everything below it, with whole paths.")
    var recursive = false

    @Flag(help: "Print one JSON object a line.")
    var json = false

    @OptionGroup var selection: SelectionOptions
    @OptionGroup var talk: TalkOptions

    func run() throws {
        let opened = try openImage(image, selection)
        let (tree, cancellation) = try looking(talk) { look, cancellation in
            (try look.tree(of: opened), cancellation)
        }
        let start = try resolve(in: tree)
        try print(of: tree) { body in
            // Twice for a table: all paths of a hostile image would not fit into memory.
            func take(_ item: ImageTree.Item, _ name: String) throws {
                try attempt { try cancellation.check() }
                try body(item, name)
            }
            if recursive {
                try tree.forEach(from: start) { try take($0, shown($0.path)) }
            } else if tree[start.id].isDirectory {
                for (name, id) in tree.children(of: start.id) {
                    try take(ImageTree.Item(start.place.appending(name), id: id), name.description)
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
                hint: "`unpack why IMAGE PATH` tells whether a layer had it")
        case .tooManyLinks:
            throw UnpackError(.data, "too many symlinks on the path '\(escaped(path.utf8))'")
        }
    }

    /// - Parameter forEach: lends the files with the names to print, each time in the same order.
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
            sizeWidth = max(sizeWidth, file.content.measure.utf8.count)
        }
        try forEach { item, name in
            let file = tree[item.id]
            let permissions = file.content.permissions(file.metadata)
            let owner = owner(of: file)
            let size = file.content.measure
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
