package import Kernel
import OCI
import Streams

/// A directory tree as canonical text: everything that must be equal wherever an image is unpacked.
///
/// Left out is what depends on the file system or the store: inode numbers, link counts, sizes of directories, blocks,
/// access and change times, attributes of overlayfs, and the names under which XFS also lists ACLs. Inode flags and
/// projects are included if a file inherits them from its directory.
package struct TreeDump: Equatable, Sendable {
    /// One line per path, sorted by the bytes of the path.
    package let lines: [String]

    package var text: String { lines.joined(separator: "\n") }

    /// - Parameter showsMarks: includes attributes of overlayfs, to compare the layers of a store.
    package init(of root: Directory, showsMarks: Bool = false) throws {
        var walk = Walk(showsMarks: showsMarks)
        try walk.visit(root)
        lines = try walk.lines()
    }

    /// The line of a path, without the path; nil if it is missing.
    package subscript(_ path: String) -> String? {
        lines.first { $0.hasPrefix(path + " ") }.map { String($0.dropFirst(path.count + 1)) }
    }

    private static let hidden: [StaticString] = [
        "trusted.overlay.", "user.overlay.", "user.rootlesscontainers",
    ]
    private static let double: StaticString = "trusted.SGI_ACL_"
    private static let selinux = AttributeName(literal: "security.selinux")

    private struct Item {
        let path: [UInt8]
        let status: FileStatus
        let detail: String
    }

    private struct Walk {
        let showsMarks: Bool
        private var items = [Item]()
        private var vanished = [[UInt8]]()

        init(showsMarks: Bool) { self.showsMarks = showsMarks }

        mutating func visit(_ root: Directory) throws {
            let attributes =
                try self.attributes(try root.file.extendedAttributeNames()) {
                    try root.file.extendedAttribute($0)
                } + Self.settings(of: root.file)
            items.append(Item(path: [UInt8(ascii: ".")], status: try root.file.status(), detail: attributes))
            var pending: [(directory: Directory, path: [UInt8])] = [(root, [])]
            while let (directory, path) = pending.popLast() {
                for name in try directory.names() {
                    let child = path.isEmpty ? Array(name.bytes) : path + [UInt8(ascii: "/")] + name.bytes
                    guard let status = try directory.status(of: name) else {
                        vanished.append(child)
                        continue
                    }
                    items.append(
                        Item(path: child, status: status, detail: try detail(directory, name, status)))
                    if status.isDirectory { pending.append((try directory.open(name), child)) }
                }
            }
        }

        func lines() throws -> [String] {
            let sorted = items.sorted { $0.path.lexicographicallyPrecedes($1.path) }
            var firstPaths = [FileStatus.Identity: [UInt8]]()
            var sizes = [FileStatus.Identity: Int]()
            for item in sorted where !item.status.isDirectory {
                sizes[item.status.identity, default: 0] += 1
                if firstPaths[item.status.identity] == nil { firstPaths[item.status.identity] = item.path }
            }
            return sorted.map { item in
                let first =
                    sizes[item.status.identity, default: 0] > 1 ? firstPaths[item.status.identity] : nil
                let group = first.map { " group=\(escaped($0))" } ?? ""
                return "\(escaped(item.path)) \(Self.common(item.status))\(item.detail)\(group)"
                // Listed by readdir(3) but not found by lstat(2): a whiteout that hides nothing appears like this.
            } + vanished.map { "\(escaped($0)) is listed, but is not there" }
        }

        private static func common(_ status: FileStatus) -> String {
            let mode = String(status.mode, radix: 8)
            let time = status.modificationTime
            let fraction = String(time.nanoseconds)
            let zeros = String(repeating: "0", count: 9 - fraction.count)
            return "\(letter(status.kind)) \(String(repeating: "0", count: max(0, 4 - mode.count)))\(mode) "
                + "\(status.uid):\(status.gid) \(time.seconds).\(zeros)\(fraction)"
        }

        private static func letter(_ kind: FileStatus.Kind) -> String {
            switch kind {
            case .regular: "-"
            case .directory: "d"
            case .symlink: "l"
            case .fifo: "p"
            case .socket: "s"
            case .character: "c"
            case .block: "b"
            }
        }

        private func detail(_ directory: Directory, _ name: FileName, _ status: FileStatus) throws
            -> String
        {
            let attributes = try self.attributes(try directory.extendedAttributeNames(of: name)) {
                try directory.extendedAttribute($0, of: name)
            }
            switch status.kind {
            case .regular:
                let file = try directory.openFile(name)
                return try " \(status.size) \(Self.digest(file))" + attributes + Self.settings(of: file)
            case .symlink: return " -> \(escaped(try directory.readLink(name)))" + attributes
            case .character(let device), .block(let device):
                return " \(device.major):\(device.minor)" + attributes
            case .directory: return attributes + (try Self.settings(of: try directory.open(name).file))
            case .fifo, .socket: return attributes
            }
        }

        private static func settings(of file: borrowing File) throws -> String {
            guard let settings = try file.settings().inherited else { return "" }
            let flags = [settings.flags, settings.extendedFlags].map { String($0, radix: 16) }
            return " flags=\(flags[0]),\(flags[1]) project=\(settings.project)"
        }

        private func attributes(
            _ names: [AttributeName], _ value: (AttributeName) throws -> [UInt8]?
        ) throws -> String {
            try names.sorted().filter { name in
                (showsMarks || !TreeDump.hidden.contains { name.hasPrefix($0) }) && name != selinux
                    && !name.hasPrefix(TreeDump.double)
            }
            .map { name in
                let hex = (try value(name) ?? []).map { byte in
                    (byte < 16 ? "0" : "") + String(byte, radix: 16)
                }
                return " \(name)=\(hex.joined())"
            }.joined()
        }

        private static func digest(_ file: borrowing File) throws -> String {
            var digester = Digester(.sha256)
            var chunk = [UInt8]()
            repeat {
                try file.read(into: &chunk, limit: 1 << 16)
                digester.update(chunk)
            } while !chunk.isEmpty
            return digester.finish().description
        }
    }
}
