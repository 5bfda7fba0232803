import Foundation

/// What the kernel by itself keeps users from doing to each other in sticky directories (proc(5), `/proc/sys/fs/protected_*`).
/// The program must be safe without it.
package enum LinkProtection: String, CaseIterable, Sendable {
    /// As this machine has it.
    case asConfigured
    case off

    private static let settings = ["symlinks", "hardlinks", "regular", "fifos"].map {
        "/proc/sys/fs/protected_\($0)"
    }

    /// Whether it can be changed here.
    private static let isSettable = settings.allSatisfy { FileManager.default.isWritableFile(atPath: $0) }

    /// What a test can try.
    package static let possible: [LinkProtection] = isSettable ? [.asConfigured, .off] : [.asConfigured]

    /// Runs a test under it. The settings are the whole machine's: tests that use this are serialized.
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
