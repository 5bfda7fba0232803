internal import Archive
package import Kernel

/// A difference between two trees at one path.
package struct TreeChange: Sendable {
    package enum Kind: Sendable {
        case added, deleted, modified
    }

    /// A property of a file that differs.
    package enum Property: String, Sendable, CaseIterable {
        /// The type of the file, e.g. a symlink in place of a directory.
        case type
        case content, size, target, device, mode, owner, attributes
        /// The hard-link group, which is compared by its first name.
        case links
        case time
    }

    package let kind: Kind
    package let path: [FileName]
    /// The file in the old tree; nil if it was added.
    package let old: ImageTree.FileID?
    /// The file in the new tree; nil if it was deleted.
    package let new: ImageTree.FileID?
    /// Empty unless the file was modified.
    package let properties: [Property]
}

/// Compares two trees by content, independent of the layers that the files come from.
package struct TreeChanges {
    private let old: ImageTree
    private let new: ImageTree
    private let comparesTimes: Bool
    private let oldGroups: LinkGroupNames
    private let newGroups: LinkGroupNames

    /// Reports all differences in the order of the paths, each directory before its entries.
    ///
    /// - Parameters:
    ///   - old: a tree that was read with digests, like `new`.
    ///   - comparesTimes: whether a modification time alone is a difference.
    ///   - check: called for each directory and for each name.
    package static func compare(
        _ old: ImageTree, _ new: ImageTree, comparesTimes: Bool, check: () throws -> Void,
        report: (TreeChange) throws -> Void
    ) rethrows {
        let changes = TreeChanges(
            old: old, new: new, comparesTimes: comparesTimes,
            oldGroups: try LinkGroupNames(of: old, check: check),
            newGroups: try LinkGroupNames(of: new, check: check))
        try changes.run(check, report)
    }

    package static func compare(
        _ old: ImageTree, _ new: ImageTree, comparesTimes: Bool, report: (TreeChange) throws -> Void
    ) rethrows {
        try compare(old, new, comparesTimes: comparesTimes, check: {}, report: report)
    }

    private struct Pair {
        let path: TreePath
        let old: ImageTree.FileID?
        let new: ImageTree.FileID?
    }

    private func run(_ check: () throws -> Void, _ report: (TreeChange) throws -> Void) rethrows {
        var pending = [Pair(path: TreePath(), old: ImageTree.root, new: ImageTree.root)]
        while let pair = pending.popLast() {
            try check()
            if let change = change(of: pair) { try report(change) }
            pending += children(of: pair).reversed()
        }
    }

    private func children(of pair: Pair) -> [Pair] {
        let olds = pair.old.map(old.listing) ?? [:]
        let news = pair.new.map(new.listing) ?? [:]
        return Set(olds.keys).union(news.keys)
            .sorted { $0.bytes.lexicographicallyPrecedes($1.bytes) }
            .map { Pair(path: pair.path.appending($0), old: olds[$0], new: news[$0]) }
    }

    private func change(of pair: Pair) -> TreeChange? {
        guard let oldID = pair.old, let newID = pair.new else {
            return TreeChange(
                kind: pair.old == nil ? .added : .deleted, path: pair.path.components, old: pair.old,
                new: pair.new,
                properties: [])
        }
        var properties = properties(oldID, newID)
        if oldGroups[oldID] != newGroups[newID] { properties.append(.links) }
        if comparesTimes, old[oldID].metadata.modificationTime != new[newID].metadata.modificationTime {
            properties.append(.time)
        }
        if properties.isEmpty { return nil }
        return TreeChange(
            kind: .modified, path: pair.path.components, old: oldID, new: newID, properties: properties)
    }

    private func properties(_ oldID: ImageTree.FileID, _ newID: ImageTree.FileID) -> [TreeChange.Property] {
        let (before, after) = (old[oldID], new[newID])
        var properties = [TreeChange.Property]()
        switch (before.content, after.content) {
        case (.regular(let size), .regular(let newSize)):
            if old.contentDigest(of: oldID) != new.contentDigest(of: newID) { properties.append(.content) }
            if size != newSize { properties.append(.size) }
        case (.symlink(let target), .symlink(let newTarget)):
            if target != newTarget { properties.append(.target) }
        case (.character(let device), .character(let newDevice)), (.block(let device), .block(let newDevice)):
            if device != newDevice { properties.append(.device) }
        case (.directory, .directory), (.fifo, .fifo), (.socket, .socket): break
        default: properties.append(.type)
        }
        let (metadata, newMetadata) = (before.metadata, after.metadata)
        if metadata.mode != newMetadata.mode { properties.append(.mode) }
        if metadata.uid != newMetadata.uid || metadata.gid != newMetadata.gid { properties.append(.owner) }
        if metadata.extendedAttributes != newMetadata.extendedAttributes { properties.append(.attributes) }
        return properties
    }
}

/// The first name of each file with several names.
private struct LinkGroupNames {
    private var names = [ImageTree.FileID: TreePath]()

    init(of tree: ImageTree, check: () throws -> Void) rethrows {
        let counts = try tree.linkCounts(check: check)
        try tree.forEach { item in
            try check()
            if !tree[item.id].isDirectory, counts[item.id] > 1, names[item.id] == nil {
                names[item.id] = item.treePath
            }
        }
    }

    subscript(_ id: ImageTree.FileID) -> TreePath? { names[id] }
}
