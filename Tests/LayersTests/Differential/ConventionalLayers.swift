import TestSupport

/// Layers as the usual tools write them, which all unpackers apply in the same variant: the root comes first, every
/// directory before its entries, and whiteouts before the rest; each path occurs once; a hard link has the metadata
/// of its file's own entry.
struct ConventionalLayers {
    private(set) var stack = [[TarEntry]]()
    private var layer = [TarEntry]()
    /// Paths that the layer has so far, and whether each is a directory.
    private var named = [MergedModel.Path: Bool]()

    /// - Parameter seed: seed of a `LayerGenerator`, whose entries are sorted.
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

    /// A hard link to the target as the merged tree has it at this point; nil if the target is not a file.
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

    /// Whether unpackers disagree about the entry on its own.
    fileprivate var isUnusual: Bool {
        let isForged = type == UInt8(ascii: "3") && major == 0 && minor == 0
        let isPseudoLink = path.cleaned.first == ".wh..wh.plnk"
        return isForged || isPseudoLink || records.contains { $0.value == "" }
    }
}

extension MergedModel.Path {
    fileprivate var text: Bytes { Bytes(map(\.array).joined(separator: [UInt8(ascii: "/")])) }
}
