internal import Archive
internal import ArgumentParser
internal import Kernel
internal import Layers
internal import Programs
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
        let tree = try looking(talk) { look, _ in try look.tree(of: opened) }
        let start = try resolve(in: tree)
        var items = [(item: ImageTree.Item, name: String)]()
        if recursive {
            tree.forEach(from: start) { items.append(($0, shown($0.path))) }
        } else if tree[start.id].isDirectory {
            for (name, id) in tree.children(of: start.id) {
                items.append((ImageTree.Item(path: start.path + [name], id: id), name.description))
            }
        } else {
            items = [(start, shown(start.path))]
        }
        try print(items, of: tree)
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

    private func print(_ items: [(item: ImageTree.Item, name: String)], of tree: ImageTree) throws {
        var writer = LineWriter()
        if json {
            let links = tree.linkCounts()
            for (item, _) in items {
                let document = FileDocument(tree[item.id], at: item.path, links: links[item.id])
                try writer.add(try attempt { try encoded(document) })
            }
            return try writer.flush()
        }
        let files = items.map { tree[$0.item.id] }
        let hasAttributes = files.contains { !$0.metadata.extendedAttributes.isEmpty }
        let owners = files.map { "\($0.metadata.uid):\($0.metadata.gid)" }
        let ownerWidth = owners.map(\.utf8.count).max() ?? 0
        let sizeWidth = files.map(\.content.measure.utf8.count).max() ?? 0
        for (index, file) in files.enumerated() {
            let permissions = file.content.permissions(file.metadata)
            let owner = owners[index]
            let size = file.content.measure
            var line = permissions + spaces((hasAttributes ? 11 : 10) - permissions.count)
            line += " " + owner + spaces(ownerWidth - owner.utf8.count)
            line += " " + spaces(sizeWidth - size.utf8.count) + size
            line += " \(UTC(file.metadata.modificationTime).text) \(items[index].name)"
            if case .symlink(let target) = file.content { line += " -> \(escaped(target))" }
            try writer.add(line)
        }
        try writer.flush()
    }

    private func spaces(_ count: Int) -> String { String(repeating: " ", count: max(0, count)) }
}
