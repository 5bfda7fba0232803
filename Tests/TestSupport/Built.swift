import Foundation
package import SystemPackage

/// Paths of the build and of the repository.
package enum Built {
    /// Path of a built program, which SwiftPM puts next to the test bundle.
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
