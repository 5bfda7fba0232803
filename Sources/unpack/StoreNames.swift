internal import Kernel
internal import Mounts
internal import OCI
internal import Programs
internal import Snapshots
internal import SystemPackage
internal import Unpacking

/// Resolves names on the command line to images and snapshots in the store.
extension StoreOptions {
    /// The beginning of a name that is looked up in the store only, also if a file has the name.
    static let namePrefix = "store:"

    /// What an argument names in the store, where an image on the disk could be meant.
    ///
    /// A path that exists takes precedence, except over a complete digest and over a name with `namePrefix`.
    ///
    /// - Returns: nil if an image on the disk is meant, or nothing in the store has this name.
    /// - Throws: `.usage` for an ambiguous name, `.notFound` for a name that can only be one of the store.
    func storedIfMeant(_ text: String) throws -> (name: StoredName, store: SnapshotStore)? {
        let isExplicit = Self.isExplicit(text)
        if !isExplicit, text.isEmpty || Self.isOnDisk(text) { return nil }
        let found: (StoredName, SnapshotStore)?
        do {
            found = try openIfExisting().flatMap { store in try only(text, in: store).map { ($0, store) } }
        } catch let error as UnpackError where error.code == .permission && !isExplicit {
            // The store of root: the name is that of a missing file.
            return nil
        }
        if found == nil, isExplicit { throw try notFound(text, noun: "image or snapshot") }
        return found
    }

    /// Whether an argument can only be a name of an existing store. The store is not opened: that of an ordinary user can
    /// be opened only in a namespace.
    func canOnlyBeStored(_ text: String) -> Bool {
        guard (try? rootPath().appending("metadata.db").exists()) == true else { return false }
        return Self.isExplicit(text) || !text.isEmpty && !Self.isOnDisk(text)
    }

    private static func isExplicit(_ text: String) -> Bool {
        text.hasPrefix(namePrefix) || (try? Digest(parsing: text)) != nil
    }

    /// Opens an image on the disk. If the path is not an image, and the store has something of this name, the error says
    /// how to name that.
    func opening<Value>(_ text: String, _ body: () throws -> Value) throws -> Value {
        do {
            return try body()
        } catch let error as UnpackError where error.code == .data && isNamed(text) {
            throw error.hinting(
                "the one of this name in the store is \(ShellWord(quoting: Self.namePrefix + text, orElse: "store:NAME").text)"
            )
        }
    }

    private func isNamed(_ text: String) -> Bool {
        guard !text.contains("/"), let store = try? openIfExisting() else { return false }
        return (try? store.named(text))?.isEmpty == false
    }

    private static func isOnDisk(_ text: String) -> Bool {
        // A transport that is not supported is no name of the store either.
        guard let choice = try? ImageChoice(text, reference: nil, digest: nil, platform: nil) else {
            return true
        }
        return choice.isPresent
    }

    /// The image of a store that a text names.
    ///
    /// - Throws: `.notFound`; `.usage` for an ambiguous name, and for a snapshot.
    func image(_ text: String, in store: SnapshotStore) throws -> ImageRecord {
        switch try only(text, in: store) {
        case .image(let image): return image
        case .snapshot(let snapshot):
            throw UnpackError(
                .usage, "'\(escaped(snapshot.name.utf8))' is a snapshot, not an image",
                hint: "'unpack images' lists images, 'unpack snapshot ls' lists snapshots")
        case nil: throw try notFound(text, noun: "image")
        }
    }

    /// The name of a snapshot that a text names; the text itself if there is none.
    ///
    /// - Throws: `.usage` for an ambiguous name.
    func snapshotName(_ text: String, in store: SnapshotStore) throws -> String {
        guard
            case .snapshot(let snapshot)? = try only(
                text, in: store, { if case .snapshot = $0 { true } else { false } })
        else { return text }
        return snapshot.name
    }

    private func only(
        _ text: String, in store: SnapshotStore, _ isWanted: (StoredName) -> Bool = { _ in true }
    ) throws -> StoredName? {
        let name = text.hasPrefix(Self.namePrefix) ? String(text.dropFirst(Self.namePrefix.count)) : text
        let found = try attempt { try store.named(name) }.filter(isWanted)
        if found.count < 2 { return found.first }
        throw UnpackError(
            .usage, "'\(escaped(name.utf8))' is the name of \(found.count) things in the store:",
            list: found.map(\.summary), hint: "name one by its digest")
    }

    private func notFound(_ text: String, noun: String) throws -> UnpackError {
        UnpackError(
            .notFound, "there is no \(noun) '\(escaped(text.utf8))' in the store \(escaped(try rootPath()))",
            hint: "list them with 'unpack images'")
    }
}

extension StoredName {
    /// One line for a list of choices.
    fileprivate var summary: String {
        switch self {
        case .image(let image):
            "image \(image.manifest)  \(image.platform)  \(image.names.map { escaped($0.utf8) }.joined(separator: ", "))"
        case .snapshot(let snapshot): "snapshot \(escaped(snapshot.name.utf8))"
        }
    }
}
