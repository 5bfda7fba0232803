internal import Kernel

extension LowerView {
    /// Returns the content of a file of the merged tree. Symlinks are followed and cannot lead out of the tree.
    ///
    /// - Parameter limit: bytes that are read at most.
    /// - Returns: nil if there is no such regular file.
    /// - Throws: `SyscallFailure`; `FileMismatch` if the file was replaced meanwhile.
    package func contents(of path: String, limit: Int) throws -> [UInt8]? {
        var rest = PathComponents(Array(path.utf8))
        var resolved = [FileName]()
        while let component = rest.next() {
            switch component {
            // The parent of the root is the root.
            case .parent: _ = resolved.popLast()
            case .tooLong: return nil
            case .name(let name):
                switch try lookUp(resolved + [name]) {
                case .missing: return nil
                case .directory: resolved.append(name)
                case .file(let directory, let status) where status.kind == .symlink:
                    guard let target = rest.follow(try directory.readLink(name)) else { return nil }
                    if target.isAbsolute { resolved = [] }
                case .file(let directory, let status):
                    guard status.kind == .regular, rest.isEmpty else { return nil }
                    return try directory.openFile(name, expecting: status).contents(first: limit)
                }
            }
        }
        return nil
    }
}
