internal import ArgumentParser
internal import FoundationEssentials
internal import Kernel
internal import Layout
internal import OCI
internal import Programs
internal import SystemPackage
internal import Unpacking

/// Prints what a layout contains. Writes nothing, and needs only read access to the layout.
struct InspectCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "inspect",
        abstract: "Show the images of a layout: platforms, configs, layers, chain IDs, history.",
        discussion: """
            Prints the tree of index.json: indexes, images with their layers, and other documents. A layer whose chain is \
            in the store already is marked 'unpacked'; an existing store is read, and none is created. On a terminal, lines \
            are cut to its width.
            """)

    @Argument(help: imageHelp, completion: .file())
    var image: String

    @OptionGroup var selection: SelectionOptions
    @OptionGroup var store: StoreOptions
    @OptionGroup var log: LogFormatOption

    @Flag(help: "Print one JSON document.")
    var json = false

    func run() throws {
        let (source, selector) = try selection.resolve(image)
        let inspection = try StoreInspection(store)
        let layout = try attempt { try ImageLayout(opening: source) }
        var description = LayoutDescription(layout, inspection, asJSON: json)
        try attempt {
            try description.add(selector)
            // The writer of a stream can finish.
            try layout.finish()
        }
        try description.print()
    }
}

/// The images of a layout that match a selector. Each is converted to text at once: only one config is in memory at a
/// time.
private struct LayoutDescription {
    private let layout: ImageLayout
    private let inspection: StoreInspection
    private let isJSON: Bool
    private var images = [String]()
    private var trees = [Descriptor: TextTree]()
    private var outline = [LayoutOutline]()
    private var isChosen = false
    private var total: Int64 = 0

    /// Limit of the documents read and the text made of them, in bytes. It is enough for thousands of usual images.
    private static let maximumTotal: Int64 = 32 << 20

    init(_ layout: ImageLayout, _ inspection: StoreInspection, asJSON isJSON: Bool) {
        self.layout = layout
        self.inspection = inspection
        self.isJSON = isJSON
    }

    mutating func add(_ selector: Selector) throws {
        isChosen = selector.selectsAnything
        let candidates = try isChosen ? layout.matches(for: selector) : layout.candidates()
        outline = try layout.outline()
        if candidates.isEmpty { throw outline.firstFailure ?? .noImage(layout.path) }
        var failures = [LayoutFailure]()
        for candidate in candidates {
            if let failure = try add(candidate, of: candidates.count) { failures.append(failure) }
        }
        // The command fails only if no image can be read; otherwise the output has the error of each.
        if let failure = failures.first, failures.count == candidates.count { throw failure }
    }

    /// - Returns: why the image cannot be read; nil if it can be, or if it is missing from a sparse layout.
    private mutating func add(_ candidate: Candidate, of count: Int) throws -> LayoutFailure? {
        var image: Image?
        var failure: LayoutFailure?
        do throws(LayoutFailure) {
            image = try layout.loadIfPresent(candidate.descriptor)
        } catch {
            failure = try layout.failureOfOneDocument(error)
        }
        let document = ImageDocument(candidate, image, failure, in: layout, inspection)
        total += image?.documentSize ?? 0
        if isJSON {
            images.append(try encoded(document))
            total += Int64(images[images.count - 1].utf8.count)
        } else {
            let tree = document.tree
            trees[candidate.descriptor] = tree
            total += Int64(tree.size)
        }
        if total > Self.maximumTotal, count > 1 {
            throw UnpackError(
                .usage, "the layout has \(count) images, too much to show at once",
                hint: "choose with --ref NAME (or DIR:NAME), --digest DIGEST or --platform OS/ARCH[/VARIANT]"
            )
        }
        return failure
    }

    func print() throws {
        if isJSON { return try printJSON() }
        let root = TextTree(
            "\(escaped(layout.path))  (\(inspection.text))", outline.compactMap(tree))
        let width = Console.outputWidth
        let hasColours = width != nil && environment("NO_COLOR") == nil
        var writer = LineWriter()
        for line in root.lines(width: width) {
            try writer.add(line.text, isFaint: line.isFaint && hasColours)
        }
        try writer.flush()
    }

    /// The tree of an item; nil if the selector does not choose it.
    private func tree(_ item: LayoutOutline) -> TextTree? {
        let descriptor = item.descriptor
        let names = descriptor.referenceNames.map { escaped($0.utf8) + "  " }.joined()
        func other(_ what: String) -> TextTree? {
            isChosen ? nil : TextTree("\(names)\(what)  \(descriptor.digest)", isFaint: true)
        }
        switch item.kind {
        case .image: return trees[descriptor]
        case .attestation: return other("attestation")
        case .artifact(let type): return other("artifact \(escaped(type.utf8))")
        case .absent: return other("manifest, not in this layout")
        case .unreadable(let failure):
            let kind = descriptor.mediaType.isIndex ? "index" : "manifest"
            return other("\(kind), cannot be read (\(UnpackError(failure).message))")
        case .repeated: return other("index, as above")
        case .index(nil): return other("index, not in this layout")
        case .index(let items?):
            let children = items.compactMap(tree)
            if children.isEmpty, isChosen { return nil }
            return TextTree("\(names)index  \(descriptor.digest)", children)
        }
    }

    private func printJSON() throws {
        let (path, others, store) = try attempt {
            (
                try encoded(layout.path.string),
                try encoded(isChosen ? [] : outline.flatMap(OtherDocument.all)),
                try encoded(inspection.document)
            )
        }
        try attempt {
            try Console.write(#"{"images":["#)
            for (index, image) in images.enumerated() { try Console.write((index > 0 ? "," : "") + image) }
            try Console.write(#"],"layout":\#(path),"others":\#(others),"store":\#(store)}"# + "\n")
        }
    }
}

/// A document of a layout that is not an image.
private struct OtherDocument: Encodable {
    let kind: String
    let references: [String]
    let digest: Digest
    let mediaType: MediaType
    let size: Int64
    let artifactType: String?
    let annotations: [String: String]?
    /// Why the document cannot be read.
    let error: String?

    static func all(_ item: LayoutOutline) -> [OtherDocument] {
        switch item.kind {
        case .image, .repeated: []
        case .index(nil): [OtherDocument("index", item.descriptor)]
        case .index(let items?): items.flatMap(all)
        case .attestation: [OtherDocument("attestation", item.descriptor)]
        case .artifact(let type): [OtherDocument("artifact", item.descriptor, type: type)]
        case .absent: [OtherDocument("manifest", item.descriptor)]
        case .unreadable(let failure):
            [
                OtherDocument(
                    item.descriptor.mediaType.isIndex ? "index" : "manifest", item.descriptor,
                    error: UnpackError(failure).message)
            ]
        }
    }

    private init(_ kind: String, _ descriptor: Descriptor, type: String? = nil, error: String? = nil) {
        self.kind = kind
        references = descriptor.referenceNames
        digest = descriptor.digest
        mediaType = descriptor.mediaType
        size = descriptor.size
        artifactType = type
        annotations = descriptor.annotations
        self.error = error
    }
}

private struct ImageDocument: Encodable {
    let references: [String]
    let digest: Digest
    let mediaType: MediaType
    let size: Int64
    let platform: String
    /// Whether the layout has its manifest and config.
    let present: Bool
    let created: String?
    let configDigest: Digest?
    let chainID: ChainID?
    /// Whether the store has all its layers; nil if the store cannot be read.
    let unpacked: Bool?
    let layers: [LayerDocument]
    /// The history, if its steps cannot be attributed to layers: their number is not that of the layers.
    let history: [HistoryDocument]?
    let config: JSONValue?
    /// Why the image cannot be read.
    let error: String?
}

private struct LayerDocument: Encodable {
    let digest: Digest
    let mediaType: MediaType
    let size: Int64
    let diffID: DiffID
    let chainID: ChainID
    /// Whether the layout has the blob, with the size of its descriptor.
    let present: Bool
    let createdBy: String?
    /// According to the media type: `gzip`, `zstd` or `none`. Unpacking detects the format from the blob itself.
    let compression: String
    /// Whether the store has the chain up to this layer; nil if the store cannot be read.
    let unpacked: Bool?
}

extension ImageDocument {
    /// - Parameters:
    ///   - image: nil if it is missing from the layout or cannot be read.
    ///   - failure: why it cannot be read.
    init(
        _ candidate: Candidate, _ image: Image?, _ failure: LayoutFailure?, in layout: ImageLayout,
        _ inspection: StoreInspection
    ) {
        references = candidate.references
        digest = candidate.descriptor.digest
        mediaType = candidate.descriptor.mediaType
        size = candidate.descriptor.size
        platform = candidate.platform.description
        error = failure.map { UnpackError($0).message }
        guard let image else {
            present = false
            created = nil
            configDigest = nil
            chainID = nil
            unpacked = nil
            layers = []
            history = nil
            config = nil
            return
        }
        present = true
        created = image.config.created
        configDigest = image.manifest.config.digest
        chainID = image.steps.last?.chainID
        unpacked = chainID.flatMap(inspection.holds)
        config = image.config.runtimeSettings
        history = HistoryDocument.list(of: image.config)
        let steps = image.manifest.layers.isEmpty ? [] : image.steps
        layers = steps.map { step in
            LayerDocument(
                digest: step.descriptor.digest, mediaType: step.descriptor.mediaType,
                size: step.descriptor.size,
                diffID: step.diffID, chainID: step.chainID,
                present: (try? layout.check(step.descriptor)) != nil,
                createdBy: image.config.command(ofLayer: step.number),
                compression: step.descriptor.mediaType.compression, unpacked: inspection.holds(step.chainID))
        }
    }

    var tree: TextTree {
        let names =
            references.isEmpty ? "(no name)" : references.map { escaped($0.utf8) }.joined(separator: ", ")
        var lines = [TextTree("manifest  \(digest)")]
        if let error {
            return TextTree("\(names)  \(platform)  cannot be read (\(error))", isFaint: true, lines)
        }
        if !present { return TextTree("\(names)  \(platform)  not in this layout", isFaint: true, lines) }
        if let configDigest { lines.append(TextTree("config    \(configDigest)")) }
        if let created { lines.append(TextTree("created   \(escaped(created.utf8))")) }
        if let chainID { lines.append(TextTree("chain ID  \(chainID)")) }
        let total = megabytes(layers.reduce(0) { $0 + $1.size })
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
    func tree(number: Int) -> TextTree {
        let state = (present ? "" : "  MISSING") + (unpacked == true ? "  unpacked" : "")
        var lines = [TextTree("diff ID   \(diffID)"), TextTree("chain ID  \(chainID)")]
        if let createdBy { lines.append(TextTree("made by   \(escaped(createdBy.utf8))")) }
        // The digest is last: a narrow terminal cuts off the end of the line.
        return TextTree("\(number). \(megabytes(size))  \(compression)\(state)  \(digest)", lines)
    }
}

extension TextTree {
    /// Bytes of text in the tree.
    fileprivate var size: Int { children.reduce(text.utf8.count) { $0 + $1.size } }
}

extension MediaType {
    fileprivate var compression: String {
        ["gzip", "zstd"].first { rawValue.hasSuffix($0) } ?? "none"
    }
}

extension Image {
    fileprivate var documentSize: Int64 { descriptor.size + manifest.config.size }
}
