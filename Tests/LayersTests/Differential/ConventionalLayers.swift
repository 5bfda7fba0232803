import TestSupport

/// Layers as the usual tools write them, about which unpackers agree: the root comes first and every directory before
/// what is in it, whiteouts before the rest; each path stands there once; a hard link says about its file what the
/// file's own entry has said.
struct ConventionalLayers {
    private(set) var stack = [[TarEntry]]()
    private var layer = [TarEntry]()
    /// What the layer has named so far, and whether it is a directory.
    private var named = [MergedModel.Path: Bool]()

    /// - Parameter seed: of `LayerGenerator`, whose entries are put in order.
    init(seed: UInt64) {
        for entries in LayerGenerator.stack(seed: seed) {
            let marks = entries.filter(\.isMark).sorted { $0.path.cleaned.count < $1.path.cleaned.count }
            layer = []
            named = [:]
            add(.directory("./"), as: [])
            for entry in marks + entries.filter({ !$0.isMark }) where !entry.isUnusual {
                add(entry, as: entry.path.cleaned)
            }
            stack.append(layer)
        }
    }

    private mutating func add(_ entry: TarEntry, as path: MergedModel.Path) {
        let parents = path.prefixes.dropLast()
        if named[path] != nil || parents.contains(where: { named[$0] == false }) { return }
        for parent in parents where named[parent] == nil {
            named[parent] = true
            layer.append(.directory(parent.text))
        }
        var entry = entry
        if entry.type == UInt8(ascii: "1") {
            guard let linked = linked(entry) else { return }
            entry = linked
        }
        named[path] = entry.type == UInt8(ascii: "5")
        entry.path = path.isEmpty ? "./" : path.text
        layer.append(entry)
    }

    /// A link to what shows at this point; nil if that is no file.
    private func linked(_ link: TarEntry) -> TarEntry? {
        let target = link.target.cleaned
        guard let tree = try? MergedModel(stack + [layer]), case .file(let id) = tree.nodes[target],
            !target.starts(with: link.path.cleaned)
        else { return nil }
        let metadata = tree.files[id].metadata
        var entry = link.mode(metadata.mode).owned(metadata.uid, metadata.gid)
            .at(metadata.seconds, metadata.nanoseconds)
        entry.records = []
        return entry
    }
}

extension TarEntry {
    fileprivate var isMark: Bool { path.cleaned.last?.starts(with: ".wh.") == true }

    /// What unpackers disagree about by itself.
    fileprivate var isUnusual: Bool {
        let isForged = type == UInt8(ascii: "3") && major == 0 && minor == 0
        let isKept = path.cleaned.first == ".wh..wh.plnk"
        return isForged || isKept || records.contains { $0.value == "" }
    }
}

extension MergedModel.Path {
    fileprivate var text: Bytes { Bytes(map(\.array).joined(separator: [UInt8(ascii: "/")])) }
}
