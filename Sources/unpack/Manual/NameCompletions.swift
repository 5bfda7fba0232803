internal import Kernel
internal import OCI
internal import Programs
internal import Snapshots
internal import SystemPackage
internal import Unpacking

/// The names that a shell offers for an argument: references of a layout, and images and snapshots of the store. What
/// cannot be read offers nothing.
struct NameCompletions {
    private let words: CommandWords

    /// - Parameter words: those before the one that is completed.
    init(_ words: CommandWords) { self.words = words }

    /// What an argument may name.
    private struct Kinds: OptionSet {
        let rawValue: Int

        static let layout = Kinds(rawValue: 1)
        static let image = Kinds(rawValue: 2)
        static let snapshot = Kinds(rawValue: 4)
    }

    /// - Parameter current: the beginning of the word.
    func candidates(for argument: CommandTree.Argument, _ current: String) -> [String] {
        let kinds = kinds(of: argument)
        var names = kinds.contains(.layout) ? references(after: current) : []
        if let store = try? openStore() {
            if kinds.contains(.image) { names += (try? store.images().flatMap(\.names)) ?? [] }
            if kinds.contains(.snapshot) {
                names += snapshots(of: store, besideImages: kinds.contains(.image))
            }
        }
        return names.filter { $0.hasPrefix(current) && printable($0) == $0 }
    }

    private func kinds(of argument: CommandTree.Argument) -> Kinds {
        let command = words.command.words.dropFirst().joined(separator: " ")
        switch (command, argument.valueName) {
        case ("", "image"), ("ls", "image"): return [.layout, .image]
        case ("mount", "what"), ("diff", "old"), ("diff", "new"): return [.layout, .image, .snapshot]
        case ("rm", "image"), ("prune", "image"): return .image
        case ("verify", "names"): return [.image, .snapshot]
        case ("snapshot prepare", "key"), ("snapshot view", "key"), ("snapshot commit", "name"): return []
        case (_, "key"), (_, "keys"), (_, "parent"): return .snapshot
        case (_, "image"): return .layout
        default: return []
        }
    }

    /// `PATH:REF` for each reference of the layout at PATH, if the word has a colon after an existing path.
    private func references(after current: String) -> [String] {
        for colon in current.indices where current[colon] == ":" {
            let path = String(current[..<colon])
            guard path != "-", (try? FilePath(path).resolved()) != nil else { continue }
            guard let choice = try? ImageChoice(path, reference: nil, digest: nil, platform: nil),
                let layout = try? LayoutInspection(choice)
            else { return [] }
            return layout.references.map { "\(path):\($0)" }
        }
        return []
    }

    /// Beside images, whose layers have chain IDs as their names, only the snapshots with keys.
    private func snapshots(of store: SnapshotStore, besideImages: Bool) -> [String] {
        var names = [String]()
        try? store.walk { if !besideImages || $0.verifiedChain == nil { names.append($0.name) } }
        return names
    }

    private func openStore() throws -> SnapshotStore? {
        func value(_ key: String) -> String? { words.values.last { $0.name == "--" + key }?.value }
        var options = StoreOptions()
        options.snapshotter = value(Settings.snapshotter.key)
        options.rootOptions = RootOptions()
        options.rootOptions.root = value(Settings.root.key)
        options.pool = PoolOptions()
        options.pool.pool = value(Settings.pool.key)
        options.pool.size = value(Settings.size.key)
        options.pool.filesystem = value(Settings.fileSystem.key)
        return try options.openIfExisting()
    }
}
