internal import Kernel
package import SystemPackage
internal import Unpacking

/// Makes a path from the command line absolute. An empty one is refused: it comes from an unset variable of a script.
///
/// - Parameter option: the option that has the path, for the message.
package func absolutePath(_ text: String, of option: String) throws -> FilePath {
    if text.isEmpty { throw UnpackError(.usage, "\(option) is empty", hint: "name a directory") }
    return try attempt { try FilePath(text).absolute() }
}

/// As `absolutePath`, for files that are created, written or trusted. A symlink as the last component is followed only
/// if it belongs to the user.
package func absoluteNotFollowing(_ text: String, of option: String) throws -> FilePath {
    let name = try absoluteNameUnresolved(text, of: option)
    return try attempt { try name.resolvingOwnSymlinks() }
}

/// As `absoluteNotFollowing`, but a symlink as the last component is not followed.
package func absoluteNameUnresolved(_ text: String, of option: String) throws -> FilePath {
    if text.isEmpty { throw UnpackError(.usage, "\(option) is empty", hint: "name a directory") }
    return try attempt { try FilePath(text).absoluteNotFollowing() }
}
