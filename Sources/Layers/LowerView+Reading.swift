package import Kernel

extension LowerView {
    /// Returns the content of a file of the merged tree. Symlinks are followed and cannot lead out of the tree.
    ///
    /// - Parameter limit: bytes that are read at most.
    /// - Returns: nil if there is no such regular file.
    package func contents(of path: String, limit: Int) throws(SyscallFailure) -> [UInt8]? {
        var remaining = Self.components(Array(path.utf8))
        var resolved = [FileName]()
        var links = 0
        while let next = remaining.first {
            remaining.removeFirst()
            guard let name = FileName(next) else {
                // `..`: the parent of the root is the root.
                if next.count == 2 { _ = resolved.popLast() }
                continue
            }
            switch try lookUp(resolved + [name]) {
            case .missing: return nil
            case .directory: resolved.append(name)
            case .file(let directory, let status):
                if status.kind == .symlink {
                    links += 1
                    // As many as the kernel follows (path_resolution(7)).
                    if links > 40 { return nil }
                    let target = try directory.readLink(name)
                    if target.first == UInt8(ascii: "/") { resolved = [] }
                    remaining = Self.components(target) + remaining
                    continue
                }
                guard status.kind == .regular, remaining.isEmpty else { return nil }
                let file = try directory.openFile(name, expecting: status)
                var bytes = [UInt8]()
                var chunk = [UInt8]()
                repeat {
                    try file.read(into: &chunk, limit: min(1 << 16, limit - bytes.count))
                    bytes += chunk
                } while !chunk.isEmpty && bytes.count < limit
                return bytes
            }
        }
        return nil
    }

    private static func components(_ path: [UInt8]) -> [ArraySlice<UInt8>] {
        path.split(separator: UInt8(ascii: "/")).filter { $0 != [UInt8(ascii: ".")] }
    }
}
