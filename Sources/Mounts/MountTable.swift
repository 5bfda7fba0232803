package import Kernel
package import SystemPackage

/// The mounts that this process sees, in the order in which they were made: `/proc/self/mountinfo` (proc(5)).
package struct MountTable: Sendable {
    fileprivate struct Line {
        /// The ID of the mount.
        let id: Int?
        /// `MAJOR:MINOR` of the file system.
        let device: [UInt8]
        /// The path inside the file system that is mounted.
        let root: [UInt8]
        let target: [UInt8]
        let type: [UInt8]
        let source: [UInt8]
        /// The options of the file system, separated by commas and still escaped.
        let options: [UInt8]
    }

    private let lines: [Line]

    package static func read() throws(SyscallFailure) -> MountTable {
        MountTable(parsing: try File.contents(of: "/proc/self/mountinfo"))
    }

    package init(parsing text: [UInt8]) {
        lines = text.split(separator: UInt8(ascii: "\n")).compactMap { line in
            // The source may be empty, e.g. after `mount -t tmpfs ""`.
            let fields = line.split(separator: UInt8(ascii: " "), omittingEmptySubsequences: false)
            // Fields 1 and 3 to 5: ID, device, root, mount point. After the lone `-`: type, source, the file system's
            // options.
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

    /// Returns the mount point of the overlay with this upper directory; nil if there is none.
    package func target(ofUpper upper: FilePath) -> FilePath? {
        let bytes = upper.bytes
        return lines.first { $0.layers.uppers.contains(bytes) }.map { Self.path($0.target) }
    }

    /// Returns the mount point of a device; nil if it is not mounted.
    package func target(ofSource source: FilePath) -> FilePath? {
        let bytes = source.bytes
        return lines.first { $0.source == bytes }.map { Self.path($0.target) }
    }

    /// Returns the mount points below a directory, in the order of the mount table.
    ///
    /// - Parameter directory: absolute and without symlinks (`FilePath.resolved()`).
    package func targets(below directory: FilePath) -> [FilePath] {
        let path = directory.bytes
        return lines.filter { $0.target != path && Self.isBelow($0.target, path) }.map {
            Self.path($0.target)
        }
    }

    /// Returns the number of lower layers of the topmost mount on a directory; 0 if that is not an overlay.
    package func lowers(of target: FilePath) throws(SyscallFailure) -> Int {
        let path = try target.resolved()
        let bytes = path.bytes
        guard let line = lines.last(where: { $0.target == bytes }) else { return 0 }
        return line.layers.lowers.count
    }

    /// Returns the source of the mount that contains a path, e.g. `/dev/sda2`; nil if that mount has another type.
    ///
    /// - Parameter path: absolute and without symlinks (`FilePath.resolved()`).
    package func device(holding path: FilePath, type: String) -> FilePath? {
        guard let index = mountIndex(containing: path.bytes), lines[index].type == Array(type.utf8) else {
            return nil
        }
        return Self.path(lines[index].source)
    }

    /// Returns the source of the topmost mount on a directory, e.g. the dataset `tank/unpack`; nil if that mount has
    /// another type or shows only a part of its file system, or nothing is mounted there.
    ///
    /// - Parameter target: absolute and without symlinks (`FilePath.resolved()`).
    package func source(mountedOn target: FilePath, type: String) -> FilePath? {
        let bytes = target.bytes
        guard let line = lines.last(where: { $0.target == bytes }), line.type == Array(type.utf8),
            line.root == [Self.slash]
        else {
            return nil
        }
        return Self.path(line.source)
    }

    /// Returns the mounts that use a directory or anything below it, in the order of the mount table.
    ///
    /// These are overlays with a layer or their source there, EROFS images there that are mounted without a loop device, mounts whose root is there (bind mounts, btrfs subvolumes), and mounts of
    /// loop devices whose backing file is there. Not included are mounts that this process does not see (other mount
    /// namespaces, detached mounts), overlays mounted with relative paths, and overlays whose options are too long for
    /// the kernel to show.
    ///
    /// - Parameter directory: absolute and without symlinks (`FilePath.resolved()`).
    package func users(below directory: FilePath) -> [(used: FilePath, target: FilePath)] {
        let path = directory.bytes
        let holder = mountIndex(containing: path)
        // The directory as a path inside its file system: the roots of all mounts of that file system are such paths.
        let inside = holder.map { lines[$0].pathInFileSystem(of: path) }
        let loops = (try? LoopTable.read())?.files(below: directory) ?? [:]
        return lines.indices.flatMap { index in
            let line = lines[index]
            var used = line.layers.all.filter { Self.isBelow($0, path) }.map(Self.path)
            if let file = loops[Self.path(line.source)] { used.append(file) }
            if line.hasFileAsSource, Self.isBelow(line.source, path) { used.append(Self.path(line.source)) }
            if let holder, let inside, index != holder, line.device == lines[holder].device,
                Self.isBelow(line.root, inside)
            {
                used.append(Self.path(path + line.root.dropFirst(inside.count)))
            }
            return used.map { (used: $0, target: Self.path(line.target)) }
        }
    }

    /// Returns the location of an open file or directory in its file system. It does not depend on the mount, symlink
    /// or spelling that was used to open the file.
    ///
    /// - Returns: nil if the file was deleted, or this process does not see its mount.
    package func location(of file: borrowing File) throws(SyscallFailure) -> FileLocation? {
        guard let id = try file.mountID(), let line = lines.first(where: { $0.id == id }),
            let path = try? file.currentPath()
        else {
            return nil
        }
        return FileLocation(device: line.device, path: line.pathInFileSystem(of: path), visiblePath: path)
    }

    /// Returns the index of the mount that contains a path: the longest matching mount point, and the last mount on it.
    private func mountIndex(containing path: [UInt8]) -> Int? {
        var best: Int?
        for (index, line) in lines.enumerated() where Self.isBelow(path, line.target) {
            if line.target.count >= best.map({ lines[$0].target.count }) ?? 0 { best = index }
        }
        return best
    }

    // MARK: Paths as bytes

    fileprivate static let slash = UInt8(ascii: "/")

    private static func path(_ bytes: [UInt8]) -> FilePath { FilePath(bytes) }

    /// Whether `path` is `other` or below it.
    fileprivate static func isBelow(_ path: [UInt8], _ other: [UInt8]) -> Bool {
        if other == [slash] || other.isEmpty { return path.first == slash }
        guard path.starts(with: other) else { return false }
        return path.count == other.count || path[other.count] == slash
    }

    /// Decodes the octal escapes of space, tab, newline, backslash and other bytes.
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

    /// The directories that an overlay's options name. An option that can be read in two ways yields both readings.
    fileprivate struct Layers {
        var uppers = [[UInt8]]()
        var lowers = [[UInt8]]()
        /// Layers that have only the content of files (kernel: overlayfs.rst, "Data-only lower layers").
        var dataOnly = [[UInt8]]()
        var all: [[UInt8]] { uppers + lowers + dataOnly }
    }
}

/// A location in a file system, independent of mounts.
package struct FileLocation: Hashable, Sendable {
    /// `MAJOR:MINOR` of the file system.
    fileprivate let device: [UInt8]
    /// The path from the root of the file system; the root itself is `/`.
    fileprivate let path: [UInt8]

    /// The path that this process used.
    private let visiblePath: [UInt8]

    fileprivate init(device: [UInt8], path: [UInt8], visiblePath: [UInt8]) {
        self.device = device
        self.path = path.isEmpty ? [MountTable.slash] : path
        self.visiblePath = visiblePath
    }

    /// Whether a walk of this directory reaches another location, in the same file system or through mounts below.
    package func leads(to other: FileLocation) -> Bool {
        other.names(below: self)?.isEmpty == false
            || visiblePath != other.visiblePath && MountTable.isBelow(other.visiblePath, visiblePath)
    }

    /// Returns the names that lead from a directory to this location.
    ///
    /// - Returns: an empty array for the directory itself; nil if this location is not below it.
    package func names(below directory: FileLocation) -> [FileName]? {
        guard device == directory.device, MountTable.isBelow(path, directory.path) else { return nil }
        return path.dropFirst(directory.path.count).split(separator: MountTable.slash).compactMap {
            FileName($0)
        }
    }
}

extension MountTable.Line {
    /// Converts a path below the mount point into a path inside the file system.
    fileprivate func pathInFileSystem(of path: [UInt8]) -> [UInt8] {
        let rest = path.dropFirst(target == [MountTable.slash] ? 0 : target.count)
        return root == [MountTable.slash] ? Array(rest) : root + rest
    }

    /// Whether the source may be a file: of EROFS the image, of an overlay of images the topmost one.
    fileprivate var hasFileAsSource: Bool {
        type == Array("erofs".utf8) || type == Array("overlay".utf8)
    }

    /// The directories of an overlay. The kernel shows `lowerdir=` and `upperdir=` as they were passed, with `\` before
    /// colons and commas, and `lowerdir+=` as a plain path (kernel: fs/overlayfs/params.c). The table escapes all of
    /// them.
    fileprivate var layers: MountTable.Layers {
        var layers = MountTable.Layers()
        guard type == Array("overlay".utf8) else { return layers }
        for option in options.split(separator: UInt8(ascii: ",")) {
            guard let equals = option.firstIndex(of: UInt8(ascii: "=")) else { continue }
            let value = MountTable.unescaped(option[(equals + 1)...])
            switch String(decoding: option[..<equals], as: UTF8.self) {
            case "lowerdir": layers.lowers += MountTable.splitAtColons(value).filter { !$0.isEmpty }
            case "lowerdir+": layers.lowers.append(value)
            case "datadir+": layers.dataOnly.append(value)
            case "upperdir": layers.uppers += [value, MountTable.withoutBackslashes(value)]
            default: break
            }
        }
        return layers
    }
}

extension MountTable {
    /// Splits a value at the colons that no backslash escapes, and unescapes the parts.
    fileprivate static func splitAtColons(_ value: [UInt8]) -> [[UInt8]] {
        var parts = [[UInt8]]()
        var part = [UInt8]()
        var isEscaped = false
        for byte in value {
            if byte == UInt8(ascii: ":"), !isEscaped {
                parts.append(withoutBackslashes(part))
                part = []
            } else {
                part.append(byte)
            }
            isEscaped = byte == UInt8(ascii: "\\") && !isEscaped
        }
        return parts + [withoutBackslashes(part)]
    }

    /// Removes the backslashes that escape the following byte.
    fileprivate static func withoutBackslashes(_ value: [UInt8]) -> [UInt8] {
        var result = [UInt8]()
        var isEscaped = false
        for byte in value {
            isEscaped = byte == UInt8(ascii: "\\") && !isEscaped
            if !isEscaped { result.append(byte) }
        }
        return result
    }
}
