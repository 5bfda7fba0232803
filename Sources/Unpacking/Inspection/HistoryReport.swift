internal import Archive
internal import Kernel
internal import Layers
package import OCI

/// The history of a path, as text and as JSON.
package struct HistoryReport {
    private let history: PathHistory
    private let config: ImageConfig

    package init(_ history: PathHistory, of config: ImageConfig) {
        self.history = history
        self.config = config
    }

    private func command(_ step: LayerStep) -> String? { config.command(ofLayer: step.number) }

    // MARK: Text

    package var text: String {
        var lines = [String]()
        for layer in history.layers {
            lines.append("\(layer.step.name)  \(layer.change.rawValue)")
            if let command = command(layer.step) { lines.append("    made by  \(escaped(command.utf8))") }
            lines += layer.events.map { "    entry \($0.entry)  \(describe($0, in: layer))" }
            if layer.events.isEmpty, history.hasEntries { lines.append("    \(withoutEntry(layer))") }
        }
        if let steps = HistoryDocument.list(of: config) {
            lines.append("history, whose steps do not match the layers")
            lines += steps.map { "    \(escaped($0.text.utf8))" }
        }
        return (lines + [verdict]).joined(separator: "\n")
    }

    private func describe(_ touch: PathEvent, in layer: PathHistory.Layer) -> String {
        let isItself = touch.path == history.path
        let hidden = layer.before == nil ? "hides nothing" : "hides what was below"
        switch touch.what {
        case .file(let content, _):
            return isItself
                ? content.summary
                : "\(content.summary) at '\(absolutePath(touch.path))', a directory on its path"
        case .directory: return "directory"
        case .hardLink(let target, _):
            return "hard link to '/\(target)'" + (isItself ? "" : " at '\(absolutePath(touch.path))'")
        case .linked(let name):
            return "hard link '/\(name)' to the same file, sets its owner, mode and time"
        case .whiteout: return "whiteout of '\(absolutePath(touch.path))', \(hidden)"
        case .opaque where isItself: return "opaque mark, hides everything of the layers below in it"
        case .opaque: return "opaque mark in '\(absolutePath(touch.path))', \(hidden)"
        case .nothing: return "character device 0:0, not created"
        }
    }

    /// Why a layer is listed that has no entry for the path.
    private func withoutEntry(_ layer: PathHistory.Layer) -> String {
        switch layer.change {
        case .added: "created for the entries below it"
        case .removed, .replaced: "a directory on its path was replaced"
        case .changed, .unchanged: "a hard link to the same file was written"
        }
    }

    private var verdict: String {
        guard let state = history.result else { return "'\(history.absolutePath)' is not in the image" }
        let metadata = state.file.metadata
        let what =
            "\(state.file.content.summary), mode \(octal(metadata.mode)), owner \(metadata.uid):\(metadata.gid)"
        let origin = state.file.origin
        let source = origin.layer > 0 ? ", from layer \(origin.layer)" : ""
        return "'\(history.absolutePath)' is a \(what)\(source)"
    }

    // MARK: JSON

    package struct Document: Encodable {
        let path: String
        /// The file in the image; nil if there is none.
        let file: FileDocument?
        let layers: [Layer]
        /// The history, if its steps cannot be attributed to layers: their number is not that of the layers.
        let history: [HistoryDocument]?
    }

    package struct Layer: Encodable {
        let layer: Int
        let digest: Digest
        let diffID: DiffID
        let createdBy: String?
        let change: String
        let entries: [Touch]
        let before: FileDocument?
        let after: FileDocument?
    }

    package struct Touch: Encodable {
        let entry: Int32
        let path: String
        let what: String
        let type: String?
        let size: Int64?
        let target: String?
    }

    package var document: Document {
        func file(_ state: PathHistory.State?, links: Int? = nil) -> FileDocument? {
            state.map { FileDocument($0.file, at: history.path, links: links) }
        }
        return Document(
            path: history.absolutePath,
            file: file(history.result, links: history.links),
            layers: history.layers.map { layer in
                Layer(
                    layer: layer.step.number, digest: layer.step.descriptor.digest, diffID: layer.step.diffID,
                    createdBy: command(layer.step), change: layer.change.rawValue,
                    entries: layer.events.map(Self.touch), before: file(layer.before),
                    after: file(layer.after))
            }, history: HistoryDocument.list(of: config))
    }

    private static func touch(_ touch: PathEvent) -> Touch {
        func made(_ what: String, _ content: ImageTree.Content? = nil, target: String? = nil) -> Touch {
            let size: Int64? = if case .regular(let size)? = content { size } else { nil }
            return Touch(
                entry: touch.entry, path: absolutePath(touch.path), what: what, type: content?.name,
                size: size,
                target: target)
        }
        return switch touch.what {
        case .file(let content, _): made("file", content)
        case .directory: made("directory", .directory)
        case .hardLink(let target, _): made("hardlink", target: "/\(target)")
        case .linked(let name): made("linked", target: "/\(name)")
        case .whiteout: made("whiteout")
        case .opaque: made("opaque")
        case .nothing: made("ignored")
        }
    }
}
