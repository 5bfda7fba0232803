import Foundation

/// Protection of the kernel against attacks between users in sticky directories (proc(5), `/proc/sys/fs/protected_*`).
/// The program must be safe without it.
package enum LinkProtection: String, CaseIterable, Sendable {
    /// The settings of this machine.
    case asConfigured
    case off

    private static let settings = ["symlinks", "hardlinks", "regular", "fifos"].map {
        "/proc/sys/fs/protected_\($0)"
    }

    /// Whether the settings can be changed.
    private static let isSettable = settings.allSatisfy { FileManager.default.isWritableFile(atPath: $0) }

    /// The states that a test can try.
    package static let possible: [LinkProtection] = isSettable ? [.asConfigured, .off] : [.asConfigured]

    /// Runs a test with these settings. They concern the whole machine, so tests that use this are serialized.
    @discardableResult
    package func during<Value>(_ body: () throws -> Value) throws -> Value {
        guard self == .off else { return try body() }
        let before = try Self.settings.map { ($0, try String(contentsOfFile: $0, encoding: .utf8)) }
        defer {
            for (setting, value) in before {
                try? value.write(toFile: setting, atomically: false, encoding: .utf8)
            }
        }
        for (setting, _) in before { try "0".write(toFile: setting, atomically: false, encoding: .utf8) }
        return try body()
    }
}
