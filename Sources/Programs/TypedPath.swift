package import Kernel
package import SystemPackage
internal import Unpacking

/// A directory that was typed, absolute. An empty one is a script's unset variable, not the working directory.
package func absolutePath(_ text: String, of option: String) throws -> FilePath {
    if text.isEmpty { throw UnpackError(.usage, "\(option) is empty", hint: "name a directory") }
    return try attempt { try FilePath(text).absolute() }
}

/// As `absolutePath`, for what is to be made or written.
package func absoluteName(_ text: String, of option: String) throws -> FilePath {
    if text.isEmpty { throw UnpackError(.usage, "\(option) is empty", hint: "name a directory") }
    return try attempt { try FilePath(text).absoluteName() }
}

extension FilePath {
    /// From the working directory: resolved as far as it exists, as text behind that.
    package func absolute() throws(SyscallFailure) -> FilePath {
        var there = isAbsolute ? self : try FilePath.workingDirectory().pushing(self)
        var rest = [FilePath.Component]()
        while true {
            if let resolved = try? there.resolved() {
                return resolved.appending(rest.reversed()).lexicallyNormalized()
            }
            guard let last = there.lastComponent, there.removeLastComponent() else { return there }
            rest.append(last)
        }
    }

    /// The same, but for what it names itself: whether that is a symlink, the kernel sees when it is opened (proc(5),
    /// protected_symlinks).
    package func absoluteName() throws(SyscallFailure) -> FilePath {
        guard let last = lastComponent, last.kind == .regular else { return try absolute() }
        let parent = removingLastComponent()
        return try (parent.isEmpty ? "." : parent).absolute().appending(last)
    }
}
