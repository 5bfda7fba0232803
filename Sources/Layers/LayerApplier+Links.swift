internal import Archive
internal import Kernel
internal import Streams

/// Hard links, and the lower files that they bring up.
extension LayerApplier {
    mutating func applyLink(
        _ name: FileName, in parent: DirectoryNode, _ directory: Directory, target: EntryPath, _ entry: Entry
    ) throws {
        let path = entry.path
        guard let targetName = target.name else {
            throw LayerFailure(refusing: entry.path, "a hard link to the root")
        }
        if target.components.contains(where: Whiteout.isReserved), target.components[0] != Whiteout.keptFolder
        {
            throw LayerFailure(refusing: entry.path, "a hard link to '\(target)', the name of a whiteout")
        }
        let targetParent = try walk(target.parent, of: target).node
        if try ownDirectory(targetName, in: targetParent)?.exists == true {
            throw LayerFailure(refusing: entry.path, "a hard link to the directory '\(target)'")
        }
        if let replaced = parent.children[name], targetParent.stands(in: replaced) {
            throw LayerFailure(refusing: entry.path, "a hard link to '\(target)', which it would replace")
        }
        if targetParent.exists, try tree.open(targetParent).status(of: targetName) != nil {
            if targetParent !== parent || targetName != name {
                try removeDirectory(name, in: parent, directory)
                let source = try tree.open(targetParent)
                try replacing(name, in: directory) { try directory.link(targetName, of: source, as: name) }
            }
        } else {
            let place = targetParent.path + [targetName]
            let lower = try tree.lower(of: targetParent, in: try openLower())
            guard case .file(let layer, let status)? = try lower?.lookUp(targetName) else {
                throw LayerFailure(
                    refusing: entry.path,
                    "a hard link to '\(target)', which is no file of this layer or below")
            }
            let (copy, folder) = try bringUp(place, targetName, of: layer, status)
            try removeDirectory(name, in: parent, directory)
            try replacing(name, in: directory) { try directory.link(copy, of: folder, as: name) }
        }
        try writer.finishLink(name, in: directory, entry.metadata, entry: path)
    }

    // MARK: Lower files

    /// A lower file that a hard link has brought into this layer.
    struct BroughtUp {
        /// Its name among those that are kept aside.
        let copy: FileName
        /// One of its names in the lower layers.
        let path: [FileName]
        let hasMoreNames: Bool
    }

    /// Copies a lower file, once, to where nothing that this layer does to its names can reach it.
    private mutating func bringUp(
        _ path: [FileName], _ name: FileName, of layer: Directory, _ status: FileStatus
    ) throws -> (FileName, Directory) {
        let folder = try asideFolder()
        if let known = broughtUp[status.identity] { return (known.copy, folder) }
        let copy = FileName(literal: "\(broughtUp.count)")
        try account.remember(Self.cost(of: path))
        try account.write(min(status.size, status.blocks * 512))
        try layer.copy(
            name, status, to: copy, in: folder, finish: &writer, removeFrom: &digests, isWanted: isWanted)
        broughtUp[status.identity] = BroughtUp(
            copy: copy, path: path, hasMoreNames: status.linkCount > 1)
        return (copy, folder)
    }

    private mutating func asideFolder() throws -> Directory {
        if let aside { return aside }
        let root = try tree.open(tree.root)
        try root.makeDirectory(Whiteout.asideFolder, mode: 0o700)
        let folder = try root.open(Whiteout.asideFolder)
        aside = folder
        return folder
    }

    /// Gives what was brought up all the names under which the lower layers show it: a link group stays one,
    /// although overlay copies a file up under one name only.
    mutating func completeGroups(of lower: LowerView) throws {
        guard let aside else { return }
        for file in broughtUp.values { try show(file, at: file.path, from: aside) }
        if broughtUp.values.contains(where: \.hasMoreNames) {
            let known = broughtUp
            try lower.forEachFile { status, path in
                try poll()
                if let file = known[status.identity] { try show(file, at: path(), from: aside) }
            }
        }
        try tree.open(tree.root).removeTree(Whiteout.asideFolder, isWanted: isWanted)
    }

    /// Links a file to a place of the lower layers, unless this layer hides it or has something there or on the way.
    private mutating func show(_ file: BroughtUp, at path: [FileName], from aside: Directory) throws {
        guard let name = path.last else { return }
        try cancellation.check()
        try account.step(Int64(path.count) + tree.takeSteps())
        var node = tree.root
        for component in path.dropLast() {
            if node.hides(component) { return }
            if let own = try ownDirectory(component, in: node), own.exists {
                node = own
                continue
            }
            if node.exists, try tree.open(node).status(of: component) != nil { return }
            node = try child(component, of: node)
        }
        if node.hides(name) { return }
        if node.exists, try tree.open(node).status(of: name) != nil { return }
        try tree.open(node).link(file.copy, of: aside, as: name)
    }
}
