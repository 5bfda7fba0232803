internal import ArgumentParser
internal import FoundationEssentials
internal import Kernel
internal import OCI
internal import Programs
internal import SystemPackage
internal import Unpacking

/// Prints what a layout contains. Writes nothing, and needs only read access to the layout.
struct InspectCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "inspect",
        abstract: "Show the images of a layout, their layers and their history.",
        discussion: """
            Prints the tree of index.json: indexes, images with their layers, and other documents. A layer whose chain is \
            in the store already is marked 'unpacked'; an existing store is read, and none is created. On a terminal, lines \
            are cut to its width.
            """)

    @Argument(help: imageHelp, completion: .file())
    var image: String

    @OptionGroup(title: "Which image") var selection: SelectionOptions
    @OptionGroup(title: "Store") var store: StoreOptions
    @OptionGroup(title: "Messages") var log: LogFormatOption

    @OptionGroup var output: JSONOptions

    func run() throws {
        let choice = try selection.choice(image)
        let store = try StoreInspection(store)
        let layout = try LayoutInspection(choice)
        var description = LayoutDescription(layout, store, asJSON: output.isJSON)
        try attempt { try description.addImages() }
        try layout.finish()
        try description.print()
    }
}

/// The images of a layout. Each is converted to text at once: only one config is in memory at a time.
private struct LayoutDescription {
    private let layout: LayoutInspection
    private let store: StoreInspection
    private let isJSON: Bool
    private var images = [String]()
    private var trees = [Descriptor: TextTree]()

    /// Limit of the documents read and the text made of them, in bytes. It is enough for thousands of usual images.
    private static let maximumTotal: Int64 = 32 << 20

    init(_ layout: LayoutInspection, _ store: StoreInspection, asJSON isJSON: Bool) {
        self.layout = layout
        self.store = store
        self.isJSON = isJSON
    }

    mutating func addImages() throws {
        var total: Int64 = 0
        try layout.forEachImage(isUnpacked: store.holds) { descriptor, document, size in
            if isJSON {
                images.append(try encoded(document))
                total += size + Int64(images[images.count - 1].utf8.count)
            } else {
                let tree = document.tree
                trees[descriptor] = tree
                total += size + Int64(tree.size)
            }
            if total > Self.maximumTotal, layout.count > 1 {
                throw UnpackError(
                    .usage, "the layout has \(layout.count) images, too much to show at once",
                    hint:
                        "choose with --ref NAME (or DIR:NAME), --digest DIGEST or --platform OS/ARCH[/VARIANT]"
                )
            }
        }
    }

    func print() throws {
        if isJSON { return try printJSON() }
        let root = TextTree("\(escaped(layout.path))  (\(store.text))", layout.items.compactMap(tree))
        let width = Console.outputWidth
        let hasColours = width != nil && environment("NO_COLOR") == nil
        var writer = LineWriter()
        for line in root.lines(width: width) {
            try writer.add(line.text, isFaint: line.isFaint && hasColours)
        }
        try writer.flush()
    }

    private func tree(_ item: LayoutInspection.Item) -> TextTree? {
        let descriptor = item.descriptor
        let names = descriptor.referenceNames.map { escaped($0.utf8) + "  " }.joined()
        switch item.content {
        case .image: return trees[descriptor]
        case .index(let items):
            return TextTree("\(names)index  \(descriptor.digest)", items.compactMap(tree))
        case .other(let what): return TextTree("\(names)\(what)  \(descriptor.digest)", isFaint: true)
        }
    }

    private func printJSON() throws {
        let (path, others, store) = try attempt {
            (
                try encoded(layout.path.string), try encoded(layout.others), try encoded(self.store.document)
            )
        }
        try attempt {
            try Console.write(#"{"images":["#)
            for (index, image) in images.enumerated() { try Console.write((index > 0 ? "," : "") + image) }
            try Console.write(#"],"layout":\#(path),"others":\#(others),"store":\#(store)}"# + "\n")
        }
    }
}

extension ImageDocument {
    fileprivate var tree: TextTree {
        let names =
            self.names.isEmpty ? "(no name)" : self.names.map { escaped($0.utf8) }.joined(separator: ", ")
        var lines = [TextTree("manifest  \(digest)")]
        if let error {
            return TextTree("\(names)  \(platform)  cannot be read (\(error))", isFaint: true, lines)
        }
        if !present { return TextTree("\(names)  \(platform)  not in this layout", isFaint: true, lines) }
        if let configDigest { lines.append(TextTree("config    \(configDigest)")) }
        if let created { lines.append(TextTree("created   \(escaped(created.utf8))")) }
        if let chainID { lines.append(TextTree("chain ID  \(chainID)")) }
        let total = decimalSize(layers.reduce(0) { $0 + $1.size })
        let count =
            switch layers.count {
            case 0: "no layers, an empty root file system"
            case 1: "1 layer, \(total)"
            default: "\(layers.count) layers, \(total), lowest first"
            }
        lines.append(TextTree(count, layers.enumerated().map { $1.tree(number: $0 + 1) }))
        if let history {
            lines.append(
                TextTree(
                    "history, whose steps do not match the layers",
                    history.map { TextTree(escaped($0.text.utf8)) }))
        }
        return TextTree("\(names)  \(platform)\(unpacked == true ? "  unpacked" : "")", lines)
    }
}

extension LayerDocument {
    fileprivate func tree(number: Int) -> TextTree {
        let state = (present ? "" : "  MISSING") + (unpacked == true ? "  unpacked" : "")
        var lines = [TextTree("diff ID   \(diffID)"), TextTree("chain ID  \(chainID)")]
        if let createdBy { lines.append(TextTree("made by   \(escaped(createdBy.utf8))")) }
        // The digest is last: a narrow terminal cuts off the end of the line.
        return TextTree("\(number). \(decimalSize(size))  \(compression)\(state)  \(digest)", lines)
    }
}

extension TextTree {
    /// Bytes of text in the tree.
    fileprivate var size: Int { children.reduce(text.utf8.count) { $0 + $1.size } }
}
