package import Kernel
package import SystemPackage

/// `/proc/self/mountinfo` (proc(5)): the mounts that this process sees, in the order in which they were mounted.
package struct MountTable: Sendable {
    fileprivate struct Line {
        /// Of the mount.
        let id: Int?
        /// `MAJOR:MINOR` of the file system.
        let device: [UInt8]
        /// What of the file system is mounted, as a path in it.
        let root: [UInt8]
        let target: [UInt8]
        let type: [UInt8]
        let source: [UInt8]
        /// The file system's options, still escaped: commas part them.
        let options: [UInt8]
    }

    private let lines: [Line]

    package static func read() throws(SyscallFailure) -> MountTable {
        MountTable(parsing: try File.contents(of: "/proc/self/mountinfo"))
    }

    package init(parsing text: [UInt8]) {
        lines = text.split(separator: UInt8(ascii: "\n")).compactMap { line in
            // A source may be empty, as of `mount -t tmpfs ""`.
            let fields = line.split(separator: UInt8(ascii: " "), omittingEmptySubsequences: false)
            // 1st, 3rd to 5th: number, device, root, mount point; behind the lone `-`: type, source, the file system's options.
            guard fields.count > 5, let dash = fields.firstIndex(of: [UInt8(ascii: "-")]),
                fields.count > dash + 3
            else {
                return nil
            }
            return Line(
                id: Int(String(decoding: fields[0], as: UTF8.self)), device: Array(fields[2]),
                root: Self.unescaped(fields[3]), target: Self.unescaped(fields[4]),
                type: Self.unescaped(fields[dash + 1]), source: Self.unescaped(fields[dash + 2]),
                options: Array(fields[dash + 3]))
        }
    }

    /// Where an overlay with this upper directory is mounted already, if it is.
    package func target(ofUpper upper: FilePath) -> FilePath? {
        let bytes = upper.bytes
        return lines.first { $0.layers.uppers.contains(bytes) }.map { Self.path($0.target) }
    }

    /// Where a device is mounted, if it is.
    package func target(ofSource source: FilePath) -> FilePath? {
        let bytes = source.bytes
        return lines.first { $0.source == bytes }.map { Self.path($0.target) }
    }

    /// How many lower layers the topmost mount on a directory has; 0 if it is no overlay.
    package func lowers(of target: FilePath) throws(SyscallFailure) -> Int {
        let path = try target.resolved()
        let bytes = path.bytes
        guard let line = lines.last(where: { $0.target == bytes }) else { return 0 }
        var count = 0
        for option in line.options.split(separator: UInt8(ascii: ",")) {
            if option.starts(with: Array("lowerdir+=".utf8)) {
                count += 1
            } else if option.starts(with: Array("lowerdir=".utf8)) {
                count += option.split(separator: UInt8(ascii: ":")).count
            }
        }
        return count
    }

    /// The source of the mount that a path lies on, e.g. `/dev/sda2`; nil if that mount is of another type.
    ///
    /// - Parameter path: absolute and without symlinks (`FilePath.resolved()`).
    package func device(holding path: FilePath, type: String) -> FilePath? {
        guard let index = holder(of: path.bytes), lines[index].type == Array(type.utf8) else {
            return nil
        }
        return Self.path(lines[index].source)
    }

    /// What of a directory is mounted, or is a layer of what is mounted, and where; in the order of the mounts.
    ///
    /// Found are overlays that have a layer there, mounts whose root is there (binds, subvolumes of btrfs), and those of
    /// loop devices whose file is there. Not found is what this process cannot see (mounts of other namespaces, detached
    /// ones), overlays that were mounted with relative paths, and those whose options are too long for the kernel to show.
    ///
    /// - Parameter directory: absolute and without symlinks (`FilePath.resolved()`).
    package func users(below directory: FilePath) -> [(used: FilePath, target: FilePath)] {
        let path = directory.bytes
        let holder = holder(of: path)
        // The same directory as its file system sees it, whose mounts all tell their roots so.
        let inside = holder.map { lines[$0].inside(path) }
        let loops = (try? LoopTable.read())?.files(below: directory) ?? [:]
        return lines.indices.flatMap { index in
            let line = lines[index]
            var used = line.layers.all.filter { Self.isBelow($0, path) }.map(Self.path)
            if let file = loops[Self.path(line.source)] { used.append(file) }
            if let holder, let inside, index != holder, line.device == lines[holder].device,
                Self.isBelow(line.root, inside)
            {
                used.append(Self.path(path + line.root.dropFirst(inside.count)))
            }
            return used.map { (used: $0, target: Self.path(line.target)) }
        }
    }

    /// Where an open file or directory lies in its file system, whichever mount, symlink or spelling has led to it.
    ///
    /// - Returns: nil for one that was removed, or whose mount this process does not see.
    package func location(of file: borrowing File) throws(SyscallFailure) -> FileLocation? {
        let id = try file.mountID()
        guard let line = lines.first(where: { $0.id == id }), let path = try? file.currentPath() else {
            return nil
        }
        return FileLocation(device: line.device, path: line.inside(path), visiblePath: path)
    }

    /// The mount that a path lies on: the longest mount point that leads to it, and of several there the last.
    private func holder(of path: [UInt8]) -> Int? {
        var best: Int?
        for (index, line) in lines.enumerated() where Self.isBelow(path, line.target) {
            if line.target.count >= best.map({ lines[$0].target.count }) ?? 0 { best = index }
        }
        return best
    }

    // MARK: Paths as bytes

    fileprivate static let slash = UInt8(ascii: "/")

    private static func path(_ bytes: [UInt8]) -> FilePath { FilePath(bytes) }

    /// Whether a path is another one or leads through it.
    fileprivate static func isBelow(_ path: [UInt8], _ other: [UInt8]) -> Bool {
        if other == [slash] || other.isEmpty { return path.first == slash }
        guard path.starts(with: other) else { return false }
        return path.count == other.count || path[other.count] == slash
    }

    /// Octal escapes of space, tab, newline, backslash and whatever else.
    fileprivate static func unescaped(_ field: ArraySlice<UInt8>) -> [UInt8] {
        var result = [UInt8]()
        var rest = field
        while let byte = rest.popFirst() {
            let digits = rest.prefix(3)
            if byte == UInt8(ascii: "\\"), digits.count == 3,
                let value = UInt8(String(decoding: digits, as: UTF8.self), radix: 8)
            {
                result.append(value)
                rest = rest.dropFirst(3)
            } else {
                result.append(byte)
            }
        }
        return result
    }

    // MARK: Layers of an overlay

    /// Directories that an overlay's options name, in every way in which they can be read.
    fileprivate struct Layers {
        var uppers = [[UInt8]]()
        var lowers = [[UInt8]]()
        var all: [[UInt8]] { uppers + lowers }
    }
}

/// A place in a file system, as the file system itself has it.
package struct FileLocation: Hashable, Sendable {
    /// `MAJOR:MINOR` of the file system.
    fileprivate let device: [UInt8]
    /// From the root of the file system, which is `/`.
    fileprivate let path: [UInt8]

    /// As this process reaches it.
    private let visiblePath: [UInt8]

    fileprivate init(device: [UInt8], path: [UInt8], visiblePath: [UInt8]) {
        self.device = device
        self.path = path.isEmpty ? [MountTable.slash] : path
        self.visiblePath = visiblePath
    }

    /// Whether a walk down from this directory can come to another place: in its file system, or through mounts below it.
    package func leads(to other: FileLocation) -> Bool {
        other.names(below: self)?.isEmpty == false
            || visiblePath != other.visiblePath && MountTable.isBelow(other.visiblePath, visiblePath)
    }

    /// The names that lead from a directory to a place in it; none if it is the directory itself, nil if it is elsewhere.
    package func names(below directory: FileLocation) -> [FileName]? {
        guard device == directory.device, MountTable.isBelow(path, directory.path) else { return nil }
        return path.dropFirst(directory.path.count).split(separator: MountTable.slash).compactMap {
            FileName($0)
        }
    }
}

extension MountTable.Line {
    /// What a path below the mount point is in the file system.
    fileprivate func inside(_ path: [UInt8]) -> [UInt8] {
        let rest = path.dropFirst(target == [MountTable.slash] ? 0 : target.count)
        return root == [MountTable.slash] ? Array(rest) : root + rest
    }

    /// Overlay shows `lowerdir=` and `upperdir=` as they were given, where `\\` takes the meaning of a colon or a comma,
    /// and `lowerdir+=` as a plain path (kernel: fs/overlayfs/params.c); then all is escaped for the table.
    fileprivate var layers: MountTable.Layers {
        var layers = MountTable.Layers()
        guard type == Array("overlay".utf8) else { return layers }
        for option in options.split(separator: UInt8(ascii: ",")) {
            guard let equals = option.firstIndex(of: UInt8(ascii: "=")) else { continue }
            let value = MountTable.unescaped(option[(equals + 1)...])
            switch String(decoding: option[..<equals], as: UTF8.self) {
            case "lowerdir": layers.lowers += MountTable.parted(value)
            case "lowerdir+", "datadir+": layers.lowers.append(value)
            case "upperdir": layers.uppers += [value, MountTable.plain(value)]
            default: break
            }
        }
        return layers
    }
}

extension MountTable {
    /// The parts between colons that no backslash stands before.
    fileprivate static func parted(_ value: [UInt8]) -> [[UInt8]] {
        var parts = [[UInt8]]()
        var part = [UInt8]()
        var isEscaped = false
        for byte in value {
            if byte == UInt8(ascii: ":"), !isEscaped {
                parts.append(plain(part))
                part = []
            } else {
                part.append(byte)
            }
            isEscaped = byte == UInt8(ascii: "\\") && !isEscaped
        }
        return parts + [plain(part)]
    }

    /// Without the backslashes that take a byte's meaning.
    fileprivate static func plain(_ value: [UInt8]) -> [UInt8] {
        var result = [UInt8]()
        var isEscaped = false
        for byte in value {
            isEscaped = byte == UInt8(ascii: "\\") && !isEscaped
            if !isEscaped { result.append(byte) }
        }
        return result
    }
}
