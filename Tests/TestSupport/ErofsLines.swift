package import Erofs
package import Kernel
import OCI
import Streams

/// The paths of a tree as text, sorted: with all metadata, the link count, and a digest of the content. The model, our
/// reader and the kernel give the same lines.
package enum ErofsLines {
    /// Size up to which the content of a file is read.
    private static let digestLimit: UInt64 = 64 << 20

    static func line(
        _ path: [UInt8], _ kind: FileKind, _ metadata: InodeMetadata, links: UInt32, detail: String
    ) -> String {
        let attributes = metadata.attributes.map { "\(escaped($0.name))=\(value($0.value))" }.sorted()
        return "\(escaped(path))/ \(kind) \(String(metadata.mode, radix: 8)) \(metadata.uid):\(metadata.gid) "
            + "\(metadata.seconds)+\(metadata.nanoseconds) \(links) \(detail) \(attributes.joined(separator: " "))"
    }

    private static func value(_ value: [UInt8]) -> String {
        guard value.count > 64 else { return escaped(value) }
        var digester = Digester(.sha256)
        digester.update(value)
        return "\(value.count) \(digester.finish())"
    }

    static func content(size: UInt64, _ digest: @autoclosure () throws -> String) rethrows -> String {
        try "\(size) \(size <= digestLimit ? digest() : "large")"
    }

    static func target(_ target: [UInt8]) -> String { "-> \(escaped(target))" }

    static func device(_ device: ImageDevice?) -> String { device.map { "\($0.major):\($0.minor)" } ?? "" }

    static func update(_ digester: inout Digester, zeros: UInt64) {
        var rest = zeros
        while rest > 0 {
            let count = min(rest, 1 << 16)
            digester.update([UInt8](repeating: 0, count: Int(count)))
            rest -= count
        }
    }

    // MARK: Our reader

    package static func of(_ image: ErofsImage) throws -> [String] {
        let root = try image.root()
        var lines = [try line([], root, in: image)]
        var walk = ErofsImage.Walk(image, from: root)
        var path = [[UInt8]]()
        while let (name, node) = try walk.next() {
            path.removeLast(path.count - (walk.depth - 1))
            path.append(name)
            lines.append(try line(path.flatMap { [UInt8(ascii: "/")] + $0 }, node, in: image))
        }
        return lines.sorted()
    }

    private static func line(_ path: [UInt8], _ node: ErofsImage.Node, in image: ErofsImage) throws -> String
    {
        let detail =
            switch node.kind {
            case .regular: try content(size: node.size, try digest(of: node, in: image))
            case .symlink: target(try image.target(of: node))
            default: device(node.device)
            }
        return line(path, node.kind, try image.metadata(of: node), links: node.linkCount, detail: detail)
    }

    private static func digest(of node: ErofsImage.Node, in image: ErofsImage) throws -> String {
        var digester = Digester(.sha256)
        var position: UInt64 = 0
        var buffer = [UInt8]()
        while position < node.size {
            // An odd length, so that pieces begin anywhere in a block.
            try image.read(node, at: position, limit: 7919, into: &buffer)
            digester.update(buffer)
            position += UInt64(buffer.count)
        }
        return digester.finish().description
    }

    // MARK: The kernel

    package static func of(_ root: Directory) throws -> [String] {
        var lines = [String]()
        var pending: [(directory: Directory, path: [UInt8])] = [(root, [])]
        lines.append(
            try line(
                [], try root.file.status(), attributes: try attributes(of: root.file), detail: ""))
        while let (directory, path) = pending.popLast() {
            for name in try directory.names() {
                let childPath = path + [UInt8(ascii: "/")] + name.bytes
                guard let status = try directory.status(of: name) else {
                    lines.append("\(escaped(childPath)) is listed, but is not there")
                    continue
                }
                let names = try directory.extendedAttributeNames(of: name)
                let attributes = try names.map { attribute in
                    InodeAttribute(
                        name: Array(attribute.bytes),
                        value: try directory.extendedAttribute(attribute, of: name) ?? [])
                }
                let detail: String
                switch status.kind {
                case .regular:
                    detail = try content(size: UInt64(status.size), try digest(of: directory.openFile(name)))
                case .symlink: detail = target(try directory.readLink(name))
                case .character(let number), .block(let number):
                    detail = device(ImageDevice(major: number.major, minor: number.minor))
                case .directory:
                    detail = ""
                    pending.append((try directory.open(name), childPath))
                case .fifo, .socket: detail = ""
                }
                lines.append(try line(childPath, status, attributes: attributes, detail: detail))
            }
        }
        return lines.sorted()
    }

    private static func line(
        _ path: [UInt8], _ status: FileStatus, attributes: [InodeAttribute], detail: String
    ) throws -> String {
        let kind: FileKind =
            switch status.kind {
            case .regular: .regular
            case .directory: .directory
            case .symlink: .symlink
            case .fifo: .fifo
            case .socket: .socket
            case .character: .characterDevice
            case .block: .blockDevice
            }
        let metadata = InodeMetadata(
            mode: UInt16(status.mode), uid: status.uid, gid: status.gid,
            seconds: status.modificationTime.seconds,
            nanoseconds: status.modificationTime.nanoseconds, attributes: attributes)
        return line(path, kind, metadata, links: UInt32(status.linkCount), detail: detail)
    }

    private static func attributes(of file: borrowing File) throws -> [InodeAttribute] {
        var attributes = [InodeAttribute]()
        for name in try file.extendedAttributeNames() {
            attributes.append(
                InodeAttribute(name: Array(name.bytes), value: try file.extendedAttribute(name) ?? []))
        }
        return attributes
    }

    private static func digest(of file: borrowing File) throws -> String {
        var digester = Digester(.sha256)
        var buffer = [UInt8]()
        repeat {
            try file.read(into: &buffer, limit: 1 << 16)
            digester.update(buffer)
        } while !buffer.isEmpty
        return digester.finish().description
    }
}
