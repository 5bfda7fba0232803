package import Kernel

extension LowerView {
    /// The content of a file that the merged tree shows. Symlinks are followed inside the tree, whatever they say.
    ///
    /// - Parameter limit: bytes that are read at most.
    /// - Returns: nil where there is no such file.
    package func contents(of path: String, limit: Int) throws(SyscallFailure) -> [UInt8]? {
        var waiting = Self.components(Array(path.utf8))
        var done = [FileName]()
        var links = 0
        while let next = waiting.first {
            waiting.removeFirst()
            guard let name = FileName(next) else {
                // `..`: the root's is the root.
                if next.count == 2 { _ = done.popLast() }
                continue
            }
            switch try lookUp(done + [name]) {
            case .missing: return nil
            case .directory: done.append(name)
            case .file(let directory, let status):
                if status.kind == .symlink {
                    links += 1
                    // As many as the kernel follows (path_resolution(7)).
                    if links > 40 { return nil }
                    let target = try directory.readLink(name)
                    if target.first == UInt8(ascii: "/") { done = [] }
                    waiting = Self.components(target) + waiting
                    continue
                }
                guard status.kind == .regular, waiting.isEmpty else { return nil }
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
