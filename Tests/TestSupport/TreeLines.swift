import Archive
import Kernel
package import Layers
package import Layout
package import OCI
import SystemPackage

extension ImageTree {
    /// Reads an image's layers.
    package init(
        reading manifest: Descriptor, of layout: ImageLayout, digests: Bool = false,
        memory: TreeMemory = TreeMemory(), limits: Budget.Limits = Budget.Limits()
    ) throws {
        self.init()
        let reader = TreeReader(
            layout, budget: Budget(limits), memory: memory, digests: digests, cancellation: Cancellation())
        for step in try layout.load(manifest).steps { _ = try reader.add(step, to: &self) }
    }

    package init(_ stack: [[TarEntry]], digests: Bool = false) throws {
        let source = try TemporaryDirectory()
        let builder = try ImageBuilder(at: source.path.appending("layout"))
        let manifest = try builder.image(stack.map { LayerBuilder($0) })
        try self.init(reading: manifest, of: try ImageLayout(opening: builder.path), digests: digests)
    }

    /// The lines that `TreeDump` prints for the real tree.
    ///
    /// - Parameter digest: returns the digest of a regular file's content.
    package func lines(digest: (FileID, File) throws -> String) rethrows -> [String] {
        var items = [(path: [UInt8], id: FileID)]()
        forEach { item in
            let path = Array(item.path.map { Array($0.bytes) }.joined(separator: [UInt8(ascii: "/")]))
            items.append((path.isEmpty ? [UInt8(ascii: ".")] : path, item.id))
        }
        items.sort { $0.path.lexicographicallyPrecedes($1.path) }
        let counts = linkCounts()
        var firsts = [FileID: [UInt8]]()
        for item in items where firsts[item.id] == nil { firsts[item.id] = item.path }
        return try items.map { path, id in
            let file = self[id]
            var text = "\(escaped(path)) \(file.content.letter) \(file.metadata.text)"
            switch file.content {
            case .regular(let size): text += " \(size) \(try digest(id, file))"
            case .symlink(let target): text += " -> \(escaped(target))"
            case .character(let device), .block(let device): text += " \(device.major):\(device.minor)"
            case .directory, .fifo, .socket: break
            }
            text += file.metadata.attributeText
            if !file.isDirectory, counts[id] > 1, let first = firsts[id] {
                text += " group=\(escaped(first))"
            }
            return text
        }
    }
}

extension ImageTree.Content {
    fileprivate var letter: String {
        switch self {
        case .regular: "-"
        case .directory: "d"
        case .symlink: "l"
        case .fifo: "p"
        case .socket: "s"
        case .character: "c"
        case .block: "b"
        }
    }
}

extension Metadata {
    fileprivate var text: String {
        let fraction = padded(String(modificationTime.nanoseconds), 9)
        return "\(padded(String(mode, radix: 8), 4)) \(uid):\(gid) \(modificationTime.seconds).\(fraction)"
    }

    fileprivate var attributeText: String {
        extendedAttributes.map { attribute in
            " \(attribute.name)=" + attribute.value.map { padded(String($0, radix: 16), 2) }.joined()
        }.joined()
    }
}

private func padded(_ digits: String, _ width: Int) -> String {
    String(repeating: "0", count: max(0, width - digits.utf8.count)) + digits
}

extension String {
    /// The line of a tree without the digest of the content.
    package var withoutDigest: String { replacing(#/sha256:[0-9a-f]+/#, with: "…") }
}
