internal import ArgumentParser
internal import Kernel
internal import Programs
internal import Unpacking

/// Lists files of an image without unpacking it.
struct LsCommand: NamespacedCommand {
    static let configuration = CommandConfiguration(
        commandName: "ls",
        abstract: "List files of an image.",
        discussion: """
            Prints mode, owner, size, time (UTC) and name. Reads and verifies every layer; needs no root. For a directory, its content is listed; for anything else, the \
            file itself. A '+' after the mode stands for extended attributes; --json prints them.

            \(pathDiscussion)
            """)

    @Argument(help: imageHelp)
    var image: String

    @Argument(help: "The path to list.")
    var path: String = "/"

    @Flag(name: .customShort("l"), help: "Accepted: the listing is always the long one.")
    var long = false

    @Flag(name: [.customShort("R"), .long], help: "List everything below the path, with absolute paths.")
    var recursive = false

    @OptionGroup var output: JSONOptions

    @OptionGroup(title: "Which image") var selection: SelectionOptions
    @OptionGroup(title: "Store") var store: StoreOptions
    @OptionGroup(title: "Messages") var verbosity: LogOptions

    func run() throws {
        let compared = try open()
        let (tree, cancellation) = try inspect(verbosity) { inspector, cancellation in
            (try inspector.tree(of: compared, digests: false), cancellation)
        }
        let listing = try FileListing(of: unescaped(path), typed: path, in: tree, isRecursive: recursive)
        func check() throws { try attempt { try cancellation.check() } }
        var writer = LineWriter()
        if output.isJSON {
            try listing.forEachDocument { document in
                try check()
                try writer.add(try attempt { try encoded(document) })
            }
            return try writer.flush()
        }
        var hasAttributes = false
        var (ownerWidth, sizeWidth) = (0, 0)
        // The tree is walked twice, first for the widths of the columns.
        try listing.forEachRow { row in
            try check()
            hasAttributes = hasAttributes || row.hasAttributes
            ownerWidth = max(ownerWidth, row.owner.utf8.count)
            sizeWidth = max(sizeWidth, row.size.utf8.count)
        }
        try listing.forEachRow { row in
            try check()
            var line = row.permissions + spaces((hasAttributes ? 11 : 10) - row.permissions.count)
            line += " " + row.owner + spaces(ownerWidth - row.owner.utf8.count)
            line += " " + spaces(sizeWidth - row.size.utf8.count) + row.size
            line += " \(row.time.text) \(row.name)"
            if let target = row.target { line += " -> \(target)" }
            try writer.add(line)
        }
        try writer.flush()
    }

    /// A snapshot is mounted to be read, which needs a namespace; an image is read without one.
    var needsNamespace: Bool { store.canOnlyBeStored(image) }

    private func open() throws -> ComparedTree {
        guard let (name, store) = try store.storedIfMeant(image) else {
            return try store.opening(image) { .image(try selection.open(image)) }
        }
        try selection.refuseForStoredImage()
        return ComparedTree(name, in: store)
    }

    private func spaces(_ count: Int) -> String { String(repeating: " ", count: max(0, count)) }
}
