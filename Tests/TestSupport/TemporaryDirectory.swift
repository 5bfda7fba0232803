import Foundation
import Kernel
package import SystemPackage

/// A directory of a test's own that goes with it.
package final class TemporaryDirectory: Sendable {
    package let path: FilePath

    /// - Parameter parent: where a file system is wanted that `Ability.scratch` found.
    package init(in parent: FilePath = FilePath(NSTemporaryDirectory())) throws {
        let path = parent.appending("unpack-test-\(UUID().uuidString)")
        try FileManager.default.createDirectory(
            atPath: path.string, withIntermediateDirectories: false, attributes: Self.mode)
        self.path = path
    }

    /// Whatever the umask: a test that applies layers has none, and what others may write to is not believed.
    private static var mode: [FileAttributeKey: Any] { [.posixPermissions: 0o755] }

    deinit {
        guard let name = path.lastComponent.map({ FileName(literal: $0.string) }) else { return }
        // FileManager would stumble over names that are not UTF-8.
        try? Directory(opening: path.removingLastComponent()).removeTree(name)
    }

    /// A new directory in it.
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
