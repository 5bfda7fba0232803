import Foundation
import Kernel
package import SystemPackage

/// A directory for one test, removed with this object.
package final class TemporaryDirectory: Sendable {
    package let path: FilePath

    /// - Parameter parent: `TestEnvironment.scratch` if the test needs all metadata.
    package init(in parent: FilePath = FilePath(NSTemporaryDirectory())) throws {
        let path = parent.appending("unpack-test-\(UUID().uuidString)")
        try FileManager.default.createDirectory(
            atPath: path.string, withIntermediateDirectories: false, attributes: Self.mode)
        self.path = path
    }

    /// Independent of the umask, which tests that apply layers clear: the program refuses directories that other users
    /// can write to.
    private static var mode: [FileAttributeKey: Any] { [.posixPermissions: 0o755] }

    deinit {
        guard let name = path.lastComponent.map({ FileName(literal: $0.string) }) else { return }
        // FileManager cannot handle names that are not UTF-8.
        try? Directory(opening: path.removingLastComponent()).removeTree(name)
    }

    /// Makes a directory in this one.
    package func makeDirectory(_ name: String) throws -> FilePath {
        let path = path.appending(name)
        try FileManager.default.createDirectory(
            atPath: path.string, withIntermediateDirectories: true, attributes: Self.mode)
        return path
    }

    @discardableResult
    package func write(_ name: String, _ contents: [UInt8]) throws -> FilePath {
        let path = path.appending(name)
        try Data(contents).write(to: URL(fileURLWithPath: path.string))
        return path
    }
}
