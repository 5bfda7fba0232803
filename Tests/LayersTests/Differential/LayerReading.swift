import TestSupport

/// The content of one layer, read entry by entry: the files that it has, and the names that it hides in the layers
/// below.
///
/// `read` does not change the tree below, and `merged` merges the layer onto it when the whole layer is known. So a
/// whiteout cannot remove a file of its own layer, whatever their order.
struct LayerReading {
    typealias Path = MergedModel.Path
    typealias Refusal = MergedModel.Refusal

    /// The file of the layer at a path.
    private enum Own: Equatable {
        /// Without metadata if no entry lists the directory.
        case directory(MergedModel.Metadata?)
        case file(MergedModel.FileID)
    }

    private let below: MergedModel
    /// Lower symlinks that this reading does not traverse.
    private let overridden: Set<Path>

    private var own: [Path: Own] = [[]: .directory(nil)]
    private var files: [MergedModel.File]
    /// X of each `.wh.X`.
    private var whiteouts = Set<Path>()
    /// D of each `D/.wh..wh..opq`.
    private var opaque = Set<Path>()
    /// Paths that an entry has listed as directories, even if later entries have replaced them.
    private var listedDirectories = Set<Path>()
    /// The first refusal. Entries after it are read for their whiteouts.
    private(set) var refusal: Refusal?

    init(over below: MergedModel, overridden: Set<Path>) {
        self.below = below
        self.overridden = overridden
        files = below.files
    }

    mutating func read(_ layer: [TarEntry]) {
        for entry in layer {
            do throws(Refusal) { try read(entry) } catch { refusal = refusal ?? error }
        }
    }

    // MARK: Merging

    /// The merged tree. A lower name shows unless the layer hides or replaces it or a directory above it.
    var merged: MergedModel {
        var result = MergedModel()
        result.files = files
        result.nodes = below.nodes.filter { path, _ in !isHidden(path) && !isReplaced(path) }
        for (path, node) in own where path.first != Self.pseudoLinkDirectory {
            switch node {
            case .file(let id): result.nodes[path] = .file(id)
            case .directory(let listed?): result.nodes[path] = .directory(listed)
            case .directory(nil):
                // An implicit parent has the metadata of the lower directory, if one shows here.
                if !result.isDirectory(path) { result.nodes[path] = .directory(.implicit) }
            }
        }
        return result
    }

    private func isHidden(_ path: Path) -> Bool {
        path.prefixes.contains { whiteouts.contains($0) || opaque.contains($0.dropLast()) }
    }

    /// Whether the layer replaces a lower path. Only a directory over a directory keeps the lower entries.
    private func isReplaced(_ path: Path) -> Bool {
        path.prefixes.contains { place in
            switch own[place] {
            case nil: false
            case .file: true
            case .directory: !below.isDirectory(place)
            }
        }
    }

    /// The lower symlinks that entries of this layer do not traverse: the layer hides them or lists them as
    /// directories.
    var overriddenLinks: Set<Path> {
        Set(
            below.nodes.keys.filter {
                below.linkTarget($0) != nil && (isHidden($0) || listedDirectories.contains($0))
            })
    }
}

// MARK: - One entry

extension LayerReading {
    private mutating func read(_ entry: TarEntry) throws(Refusal) {
        let path = entry.path.cleaned
        switch try Meaning(entry, path) {
        case .ignored: break
        case .opaque: opaque.insert(try folder(of: path))
        case .whiteout(let hidden): whiteouts.insert(try folder(of: path) + [hidden])
        case .entry:
            guard let name = path.last else {
                guard entry.type == UInt8(ascii: "5") else {
                    throw Refusal(reason: "a root that is no directory")
                }
                own[[]] = .directory(MergedModel.Metadata(entry))
                return
            }
            let folder = try folder(of: path)
            for parent in folder.prefixes where own[parent] == nil { own[parent] = .directory(nil) }
            try put(entry, at: folder + [name])
        }
    }

    /// Adds an entry. The last entry of a path wins; only a directory over a directory of this layer keeps its content.
    private mutating func put(_ entry: TarEntry, at place: Path) throws(Refusal) {
        switch entry.type {
        case UInt8(ascii: "5"):
            listedDirectories.insert(place)
            if case .file = own[place] { remove(place) }
            own[place] = .directory(MergedModel.Metadata(entry))
        case UInt8(ascii: "1"):
            let id = try target(of: entry, at: place)
            remove(place)
            own[place] = .file(id)
            files[id].takeMetadata(of: entry)
        default:
            remove(place)
            // A device 0:0 would be a whiteout of overlay, and is not created.
            guard let kind = MergedModel.File.Kind(entry) else { return }
            own[place] = .file(files.count)
            files.append(MergedModel.File(kind, entry))
        }
    }

    private mutating func remove(_ place: Path) { own = own.filter { !$0.key.starts(with: place) } }

    /// The target of a hard link: a file of this layer, or of one below, even if this layer hides it.
    private func target(of entry: TarEntry, at place: Path) throws(Refusal) -> MergedModel.FileID {
        let path = entry.target.cleaned
        guard let name = path.last else { throw Refusal(reason: "a hard link to the root") }
        let target = try folder(of: path) + [name]
        if target != place, target.starts(with: place) {
            throw Refusal(reason: "a hard link over its own target")
        }
        switch (own[target], below.nodes[target]) {
        case (.file(let id), _): return id
        case (nil, .file(let id)): return id
        case (.directory, _), (nil, .directory): throw Refusal(reason: "a hard link to a directory")
        case (nil, nil): throw Refusal(reason: "a hard link to nothing")
        }
    }

    // MARK: Paths

    /// Resolves the parent directory of a path: symlinks of this layer and of those below are followed inside the root.
    private func folder(of path: Path) throws(Refusal) -> Path {
        var place = Path()
        var ahead = Array(path.dropLast().reversed())
        var links = 0
        while let name = ahead.popLast() {
            if name == ".." {
                place = Array(place.dropLast())
            } else if let target = try linkTarget(place + [name]) {
                links += 1
                if links > 40 { throw Refusal(reason: "too many symlinks") }
                if target.array.first == UInt8(ascii: "/") { place = [] }
                ahead += target.components.reversed()
            } else {
                place.append(name)
            }
        }
        return place
    }

    private func linkTarget(_ place: Path) throws(Refusal) -> Bytes? {
        switch own[place] {
        case .directory: return nil
        case .file(let id):
            guard case .symlink(let target) = files[id].kind else {
                throw Refusal(reason: "a name below a file")
            }
            return target
        case nil: return overridden.contains(place) ? nil : below.linkTarget(place)
        }
    }

    // MARK: Meaning of names

    /// AUFS's pseudo-link directory, whose files are only targets of hard links.
    private static let pseudoLinkDirectory: Bytes = ".wh..wh.plnk"

    private enum Meaning {
        case entry
        case whiteout(Bytes)
        case opaque
        /// AUFS bookkeeping.
        case ignored

        init(_ entry: TarEntry, _ path: Path) throws(Refusal) {
            guard let index = path.firstIndex(where: { $0.starts(with: ".wh.") }) else {
                self = .entry
                return
            }
            let isLast = index == path.count - 1
            if isLast, path[index] == ".wh..wh..opq" {
                self = .opaque
            } else if index == 0, path[0].starts(with: ".wh..wh.") {
                let isPseudoLink =
                    path[0] == pseudoLinkDirectory && path.count == 2 && entry.type == UInt8(ascii: "0")
                self = isPseudoLink ? .entry : .ignored
            } else if !isLast {
                throw Refusal(reason: "a path through a whiteout")
            } else {
                let hidden = Bytes(path[index].array.dropFirst(4))
                if ["", ".", ".."].contains(hidden) { throw Refusal(reason: "a whiteout of no file") }
                self = .whiteout(hidden)
            }
        }
    }
}

// MARK: - Content and metadata of an entry

extension MergedModel.File.Kind {
    fileprivate init?(_ entry: TarEntry) {
        switch Character(Unicode.Scalar(entry.type)) {
        case "2": self = .symlink(to: entry.target)
        case "3" where entry.major == 0 && entry.minor == 0: return nil
        case "3": self = .character(entry.major, entry.minor)
        case "4": self = .block(entry.major, entry.minor)
        case "6": self = .fifo
        default: self = .regular(entry.contents)
        }
    }

    /// Whether the file can have `user.*` (xattr(7)).
    fileprivate var takesUserAttributes: Bool {
        if case .regular = self { return true }
        return false
    }
}

extension MergedModel.File {
    fileprivate init(_ kind: Kind, _ entry: TarEntry) {
        self.kind = kind
        metadata = MergedModel.Metadata(entry, takesUserAttributes: kind.takesUserAttributes)
        if case .symlink = kind { metadata.mode = 0o777 }
    }

    /// Applies the metadata of a hard link's entry to the shared file. No attribute is removed.
    fileprivate mutating func takeMetadata(of link: TarEntry) {
        var new = MergedModel.File(kind, link).metadata
        new.attributes.merge(metadata.attributes) { linked, _ in linked }
        metadata = new
    }
}

extension MergedModel.Metadata {
    fileprivate init(_ entry: TarEntry, takesUserAttributes: Bool = true) {
        self.init(
            mode: entry.mode, uid: entry.uid, gid: entry.gid, seconds: entry.seconds,
            nanoseconds: entry.nanoseconds)
        for record in entry.records where record.key.hasPrefix("SCHILY.xattr.") {
            let name = String(record.key.dropFirst("SCHILY.xattr.".count))
            let isUser = name.hasPrefix("user.")
            let belongsToHost =
                name.hasPrefix("trusted.") || name.hasPrefix("user.overlay.") || name == "security.selinux"
            if !belongsToHost, takesUserAttributes || !isUser { attributes[name] = record.value }
        }
    }
}

extension Bytes {
    /// The components without empty ones and `.`; `..` is included.
    fileprivate var components: MergedModel.Path {
        array.split(separator: UInt8(ascii: "/")).map { Bytes($0) }.filter { $0 != "." }
    }

    /// The path of an entry with that name: `..` goes up and stops at the root.
    var cleaned: MergedModel.Path {
        components.reduce(into: []) { path, part in
            if part == ".." { path = path.dropLast() } else { path.append(part) }
        }
    }

    func starts(with prefix: Bytes) -> Bool { array.starts(with: prefix.array) }
}

extension MergedModel.Path {
    /// The path itself and the directories above it, without the root.
    var prefixes: [MergedModel.Path] { indices.map { Array(self[...$0]) } }
}
