internal import ArgumentParser
internal import Kernel
internal import OCI
internal import Programs
internal import Snapshots
internal import Unpacking

struct RmCommand: NamespacedCommand {
    static let configuration = CommandConfiguration(
        commandName: "rm", abstract: "Remove images, and the layers that nothing else needs.",
        discussion: """
            A writable snapshot (--rw) keeps the layers of its image until the snapshot is removed.

            \(WaitOptions.discussion)
            """)

    @Argument(help: "References or manifest digests, as listed by `unpack images`.")
    var images: [String]

    @OptionGroup var store: StoreOptions
    @OptionGroup var log: LogFormatOption

    @OptionGroup var waiting: WaitOptions

    @Flag(help: "Print one JSON document.")
    var json = false

    private struct Document: Encodable {
        let reference: String?
        let digest: Digest
        /// Names of the layers that were removed, topmost first.
        let removed: [String]
        /// How many layers are kept because something else needs them.
        let kept: Int
        /// Bytes on disk of the removed layers.
        let bytes: Int64
    }

    func run() throws {
        let store = try self.store.openExisting()
        var documents = [Document]()
        try attempt { try store.measureAll() }
        for name in images {
            let image = try find(name, in: store)
            let removals = try attempt { try store.remove(image, .started) }
            let isDeleted = try waiting.finish(store, self.store)
            let document = Document(
                reference: image.reference, digest: image.manifest, removed: removals.map(\.snapshot.name),
                kept: image.layers.count - removals.count,
                bytes: removals.reduce(0) { $0 + ($1.usage?.size ?? 0) })
            // Printed at once, because the next name may fail.
            if !json { try printResult(text(of: document, isDeleted: isDeleted)) }
            documents.append(document)
        }
        if json { try printResult(try attempt { try encoded(documents) }) }
    }

    private func text(of document: Document, isDeleted: Bool) -> String {
        let name = document.reference.map { escaped($0.utf8) } ?? "\(document.digest)"
        let removed =
            "\(plural(document.removed.count, "layer")) removed, \(binarySize(document.bytes))"
            + (isDeleted || document.removed.isEmpty ? "" : " being freed")
        if document.kept == 0 { return "\(name): \(removed)" }
        return "\(name): \(removed), \(document.kept) stay: "
            + "other images, snapshots, services or a running unpack need them, or they are mounted"
    }

    private func find(_ name: String, in store: SnapshotStore) throws -> ImageRecord {
        let digest = try? Digest(parsing: name)
        let found = try attempt { try store.images() }.filter {
            $0.reference == name || $0.manifest == digest
        }
        guard let image = found.first else {
            throw UnpackError(
                .notFound, "there is no image '\(escaped(name.utf8))' in the store",
                hint: "list them with 'unpack images'")
        }
        guard found.count == 1 else {
            throw UnpackError(
                .usage,
                "\(found.count) images are called '\(escaped(name.utf8))':",
                list: found.map { "\($0.manifest)  \($0.platform)" },
                hint: "name one by its digest")
        }
        return image
    }
}

private func plural(_ count: Int, _ noun: String) -> String { "\(count) \(noun)\(count == 1 ? "" : "s")" }
