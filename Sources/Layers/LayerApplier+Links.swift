internal import Archive
internal import Kernel

/// Hard links, and the lower files that they bring up.
extension LayerApplier {
    mutating func applyLink(
        _ name: FileName, in parent: DirectoryNode, _ directory: Directory, target: EntryPath, _ entry: Entry
    ) throws {
        let path = entry.path
        guard let targetName = target.name else {
            throw LayerFailure(refusing: entry.path, "a hard link to the root")
        }
        let targetParent = try walk(Array(target.parent), of: target)
        if try ownDirectory(targetName, in: targetParent)?.exists == true {
            throw LayerFailure(refusing: entry.path, "a hard link to the directory '\(target)'")
        }
        if let replaced = parent.children[name], targetParent.stands(in: replaced) {
            throw LayerFailure(refusing: entry.path, "a hard link to '\(target)', which it would replace")
        }
        let isItself = targetParent === parent && targetName == name
        if targetParent.exists, try tree.open(targetParent).status(of: targetName) != nil {
            if !isItself {
                try removeDirectory(name, in: parent, directory)
                let source = try tree.open(targetParent)
                try replacing(name, in: directory) { try directory.link(targetName, of: source, as: name) }
            }
        } else {
            guard case .file(let layer, let status) = try openLower().lookUp(targetParent.path + [targetName])
            else {
                throw LayerFailure(
                    refusing: entry.path,
                    "a hard link to '\(target)', which is no file of this layer or below")
            }
            try removeDirectory(name, in: parent, directory)
            try copyUp(targetName, of: targetParent, from: layer, status, linkedAs: name, in: parent)
        }
        try writer.finishLink(name, in: directory, entry.metadata, entry: path)
    }

    /// Brings a lower file into this layer as `name`, and with it all names that it has in the lower layers:
    /// a link group stays one, although overlay copies a file up under one name only.
    private mutating func copyUp(
        _ target: FileName, of targetParent: DirectoryNode, from layer: Directory, _ status: FileStatus,
        linkedAs name: FileName, in parent: DirectoryNode
    ) throws {
        let directory = try tree.open(parent)
        // Another link has brought it up already: it stays one file, also where its own name is hidden.
        if let (node, known, copy) = broughtUp[status.identity], node.exists,
            try tree.open(node).status(of: known)?.identity == copy
        {
            let source = try tree.open(node)
            return try replacing(name, in: directory) { try directory.link(known, of: source, as: name) }
        }
        var writer = self.writer
        try replacing(name, in: directory) {
            try layer.copy(target, status, to: name, in: directory, finish: &writer)
        }
        self.writer = writer
        if let copy = try directory.status(of: name) {
            broughtUp[status.identity] = (parent, name, copy.identity)
        }
        var names = [(targetParent, target)]
        if status.linkCount > 1 {
            for other in try openLower().names(of: status.identity, in: layer) {
                guard let otherName = other.last else { continue }
                // Where this layer has something else on the way, the name does not show any more.
                if let node = try lowerNode(other.dropLast()) { names.append((node, otherName)) }
            }
        }
        for (node, other) in names where !isHidden(other, in: node) {
            let group = try tree.open(node)
            // What this layer has under that name stays.
            if try group.status(of: other) == nil {
                try group.link(name, of: directory, as: other)
                node.copiedUp.insert(other)
            }
        }
    }

    /// A directory of the layers below, whose names are no symlinks; nil where this layer has a file in its way.
    private mutating func lowerNode(_ components: some Sequence<FileName>) throws -> DirectoryNode? {
        var node = tree.root
        for name in components {
            if let own = try ownDirectory(name, in: node) {
                node = own
                continue
            }
            if node.exists, try tree.open(node).status(of: name) != nil { return nil }
            node = try addNode(name, in: node, exists: false)
        }
        return node
    }

    /// Takes back the names of link groups that this layer turned out to hide, and the directories made for them.
    mutating func withdrawHidden(in node: DirectoryNode, isHidden: Bool) throws {
        for (name, child) in node.children where child.exists {
            try withdrawHidden(in: child, isHidden: isHidden || node.hides(name))
        }
        for name in node.copiedUp where isHidden || node.hides(name) {
            try tree.open(node).removeFile(name)
        }
        // What no entry lists and nothing stands in was made for a name that is gone again.
        guard node.metadata == nil, node !== tree.root else { return }
        if try tree.open(node).names().isEmpty { try tree.remove(node) }
    }
}
