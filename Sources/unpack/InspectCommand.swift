internal import ArgumentParser
internal import FoundationEssentials
internal import Kernel
internal import Layout
internal import OCI
internal import SystemPackage
internal import Unpacking

/// Tells what is in a layout. Writes nothing, and needs no rights but to read it.
struct InspectCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "inspect",
        abstract: "Show the images of a layout: platforms, configs, layers, chain IDs, history.")

    @Argument(help: imageHelp)
    var image: String

    @OptionGroup var selection: SelectionOptions

    @Flag(help: "Print one JSON document.")
    var json = false

    func run() throws {
        let (source, selector) = try selection.resolve(image)
        let images = try attempt { try describe(source, selector) }
        let (opening, separator, closing) =
            json
            ? (#"{"images":["#, ",", #"],"layout":\#(try attempt { try encoded(source.path.string) })}"#)
            : ("", "\n\n", "")
        try attempt {
            try Console.write(opening)
            for (index, image) in images.enumerated() {
                try Console.write((index > 0 ? separator : "") + image)
            }
            try Console.write(closing + "\n")
        }
    }

    /// Every image of a layout that fits what was asked for. Each becomes text at once, so that no more than one
    /// config is held.
    private func describe(_ source: ImageSource, _ selector: Selector) throws -> [String] {
        let layout = try ImageLayout(opening: source)
        var candidates = try layout.candidates()
        if candidates.isEmpty { throw LayoutFailure.noImage(source.path) }
        // Everything is shown unless something was asked for.
        if selector.isChoice {
            candidates = try layout.fitting(selector)
        }
        var total: Int64 = 0
        return try candidates.map { candidate in
            let image = try layout.loadIfPresent(candidate.descriptor)
            let document = ImageDocument(candidate, image, in: layout)
            let text = json ? try encoded(document) : document.text
            total += (image?.documentSize ?? 0) + Int64(text.utf8.count)
            if total > Self.largestTotal, candidates.count > 1 {
                throw UnpackError(
                    .usage, "the layout has \(candidates.count) images, too much to show at once",
                    hint:
                        "choose with --ref NAME (or DIR:NAME), --digest DIGEST or --platform OS/ARCH[/VARIANT]"
                )
            }
            return text
        }
    }

    /// Documents read and text written, in bytes: thousands of images, as they are built.
    private static let largestTotal: Int64 = 32 << 20
}

private struct ImageDocument: Encodable {
    let references: [String]
    let digest: Digest
    let mediaType: MediaType
    let size: Int64
    let platform: String
    /// Whether the layout holds its manifest and config.
    let present: Bool
    let created: String?
    let configDigest: Digest?
    let chainID: ChainID?
    let layers: [LayerDocument]
    let config: JSONValue?
}

private struct LayerDocument: Encodable {
    let digest: Digest
    let mediaType: MediaType
    let size: Int64
    let diffID: DiffID
    let chainID: ChainID
    /// Whether the layout holds the blob, in the right size.
    let present: Bool
    let createdBy: String?
}

extension ImageDocument {
    /// - Parameter image: nil where the layout does not hold it.
    init(_ candidate: Candidate, _ image: Image?, in layout: ImageLayout) {
        references = candidate.references
        digest = candidate.descriptor.digest
        mediaType = candidate.descriptor.mediaType
        size = candidate.descriptor.size
        platform = candidate.platform.description
        guard let image else {
            present = false
            created = nil
            configDigest = nil
            chainID = nil
            layers = []
            config = nil
            return
        }
        present = true
        created = image.config.created
        configDigest = image.manifest.config.digest
        chainID = image.steps.last?.chainID
        config = image.config.execution
        let history = image.config.layerHistory
        layers = image.steps.map { step in
            LayerDocument(
                digest: step.descriptor.digest, mediaType: step.descriptor.mediaType,
                size: step.descriptor.size,
                diffID: step.diffID, chainID: step.chainID,
                present: (try? layout.check(step.descriptor)) != nil,
                createdBy: step.number <= history.count ? history[step.number - 1].createdBy : nil)
        }
    }

    var text: String {
        let names =
            references.isEmpty ? "(no name)" : references.map { escaped($0.utf8) }.joined(separator: ", ")
        var lines = ["\(names)  \(platform)"]
        lines.append("  manifest  \(digest)")
        if !present { return (lines + ["  not in this layout"]).joined(separator: "\n") }
        if let configDigest { lines.append("  config    \(configDigest)") }
        if let created { lines.append("  created   \(escaped(created.utf8))") }
        if let chainID { lines.append("  chain ID  \(chainID)") }
        let total = megabytes(layers.reduce(0) { $0 + $1.size })
        lines.append(
            layers.count == 1 ? "  1 layer, \(total):" : "  \(layers.count) layers, \(total), lowest first:")
        for (index, layer) in layers.enumerated() {
            let missing = layer.present ? "" : "  MISSING"
            lines.append(
                "  \(index + 1). \(layer.digest)  \(megabytes(layer.size))  \(layer.mediaType)\(missing)")
            lines.append("     diff ID   \(layer.diffID)")
            lines.append("     chain ID  \(layer.chainID)")
            if let createdBy = layer.createdBy { lines.append("     made by   \(escaped(createdBy.utf8))") }
        }
        return lines.joined(separator: "\n")
    }
}

extension Image {
    fileprivate var documentSize: Int64 { descriptor.size + manifest.config.size }
}
