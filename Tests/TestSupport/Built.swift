import Foundation
package import SystemPackage

/// What stands where these tests were built.
package enum Built {
    /// Beside the test bundle, where SwiftPM puts everything that it builds.
    package static func program(_ name: String) -> FilePath {
        let folder = FilePath(ProcessInfo.processInfo.arguments[0]).removingLastComponent()
        let candidates = [folder, folder.appending(".."), FilePath(Bundle.main.bundlePath)]
        let found = candidates.map { $0.appending(name) }.first {
            FileManager.default.isExecutableFile(atPath: $0.string)
        }
        return found ?? FilePath(name)
    }

    package static let repository = FilePath(#filePath).removingLastComponent().appending("../..")
        .lexicallyNormalized()
}
