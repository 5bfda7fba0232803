/// A tar entry as a test describes it, valid by default, with any errors that the test chooses.
package struct TarEntry: Sendable {
    /// The type flag, e.g. `0` for a regular file.
    package var type: UInt8
    package var path: Bytes
    package var contents = Bytes("")
    package var target = Bytes("")
    package var mode: Int64 = 0o644
    package var uid: Int64 = 0
    package var gid: Int64 = 0
    package var seconds: Int64 = 0
    package var nanoseconds: Int64 = 0
    package var major: Int64 = 0
    package var minor: Int64 = 0
    /// Records of the PAX header, in order.
    package var records: [(key: String, value: Bytes)] = []
    /// Size in the header; nil for the size of `contents`.
    package var statedSize: Int64?
    /// Whether long names are GNU `L` and `K` entries instead of PAX records.
    package var usesGNUNames = false
    /// Changes the raw header before its checksum is computed.
    package var edit: (@Sendable (inout [UInt8]) -> Void)?
    package var hasWrongChecksum = false

    package init(_ type: Character, _ path: Bytes) {
        self.type = type.asciiValue ?? 0
        self.path = path
    }

    package static func file(_ path: Bytes, _ contents: Bytes = "") -> TarEntry {
        var entry = TarEntry("0", path)
        entry.contents = contents
        return entry
    }

    package static func directory(_ path: Bytes, mode: Int64 = 0o755) -> TarEntry {
        TarEntry("5", path).mode(mode)
    }

    package static func symlink(_ path: Bytes, to target: Bytes) -> TarEntry {
        var entry = TarEntry("2", path).mode(0o777)
        entry.target = target
        return entry
    }

    package static func hardLink(_ path: Bytes, to target: Bytes) -> TarEntry {
        var entry = TarEntry("1", path)
        entry.target = target
        return entry
    }

    package static func fifo(_ path: Bytes) -> TarEntry { TarEntry("6", path) }

    package static func character(_ path: Bytes, _ major: Int64, _ minor: Int64) -> TarEntry {
        TarEntry("3", path).device(major, minor)
    }

    package static func block(_ path: Bytes, _ major: Int64, _ minor: Int64) -> TarEntry {
        TarEntry("4", path).device(major, minor)
    }

    /// A whiteout: `.wh.X` for a path that ends in X.
    package static func whiteout(_ path: String) -> TarEntry {
        let parts = path.split(separator: "/")
        return .file(Bytes((parts.dropLast() + [".wh." + (parts.last ?? "")]).joined(separator: "/")))
    }

    package static func opaque(_ directory: String) -> TarEntry {
        .file(Bytes(directory.isEmpty ? ".wh..wh..opq" : directory + "/.wh..wh..opq"))
    }
}

extension TarEntry: CustomStringConvertible {
    package var description: String {
        let records = records.map { " \($0.key)=\($0.value.description.prefix(40))" }.joined()
        return
            "\(Unicode.Scalar(type)) \(path.description.prefix(40)) \(target.description.prefix(40))\(records)"
    }
}

/// Modifiers for an entry: `.file("ping", "…").mode(0o4755).owned(1, 2)`.
extension TarEntry {
    package func mode(_ mode: Int64) -> TarEntry { changed { $0.mode = mode } }

    package func owned(_ uid: Int64, _ gid: Int64) -> TarEntry {
        changed {
            $0.uid = uid
            $0.gid = gid
        }
    }

    package func at(_ seconds: Int64, _ nanoseconds: Int64 = 0) -> TarEntry {
        changed {
            $0.seconds = seconds
            $0.nanoseconds = nanoseconds
        }
    }

    package func device(_ major: Int64, _ minor: Int64) -> TarEntry {
        changed {
            $0.major = major
            $0.minor = minor
        }
    }

    package func pax(_ key: String, _ value: Bytes) -> TarEntry {
        changed { $0.records.append((key, value)) }
    }
    package func xattr(_ name: String, _ value: Bytes) -> TarEntry { pax("SCHILY.xattr.\(name)", value) }
    package func withSize(_ size: Int64) -> TarEntry { changed { $0.statedSize = size } }
    package func withGNUNames() -> TarEntry { changed { $0.usesGNUNames = true } }
    package func withWrongChecksum() -> TarEntry { changed { $0.hasWrongChecksum = true } }
    package func type(_ flag: UInt8) -> TarEntry { changed { $0.type = flag } }

    package func editing(_ edit: @escaping @Sendable (inout [UInt8]) -> Void) -> TarEntry {
        changed { $0.edit = edit }
    }

    private func changed(_ change: (inout TarEntry) -> Void) -> TarEntry {
        var entry = self
        change(&entry)
        return entry
    }
}
