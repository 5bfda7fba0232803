internal import Kernel
package import SystemPackage
internal import Unpacking

/// A directory that was typed, absolute. An empty one is a script's unset variable, not the working directory.
package func absolutePath(_ text: String, of option: String) throws -> FilePath {
    if text.isEmpty { throw UnpackError(.usage, "\(option) is empty", hint: "name a directory") }
    return try attempt { try FilePath(text).absolute() }
}

/// As `absolutePath`, for what is made, written or believed: a symlink that it names itself is followed only if it is the
/// user's own.
package func absoluteName(_ text: String, of option: String) throws -> FilePath {
    let name = try nameNotFollowed(text, of: option)
    return try attempt { try name.followingOwnLinks() }
}

/// As `absoluteName`, but a symlink that it names itself stays one.
package func nameNotFollowed(_ text: String, of option: String) throws -> FilePath {
    if text.isEmpty { throw UnpackError(.usage, "\(option) is empty", hint: "name a directory") }
    return try attempt { try FilePath(text).absoluteName() }
}
