package import ArgumentParser
internal import Kernel
package import OCI
package import Snapshots
package import SystemPackage
package import Unpacking

/// The settings that apply to all runs. A flag takes precedence over the environment, that over the configuration file,
/// and that over the default. `Setting.find` implements this order.
package enum Settings {
    package static let root = Setting(
        "root", expected: "a directory; in the file an absolute path",
        default: "/var/lib/unpack, or ~/.local/share/unpack for users other than root", fallback: defaultRoot
    ) { text, source in
        if case .file = source, !text.hasPrefix("/") { return nil }
        return text
    }

    package static let snapshotter = Setting(
        "snapshotter", expected: "one of " + SnapshotStore.supported.joined(separator: ", "),
        default: defaultSnapshotter, fallback: { defaultSnapshotter }
    ) { text, source in
        // The store refuses an unknown kind from a flag when it is opened.
        if case .flag = source { return text }
        return SnapshotStore.supported.contains(text) ? text : nil
    }

    package static let jobs = Setting(
        "jobs", expected: "1 to \(maximumJobs)", isNumber: true,
        default: "as many as there are processors", fallback: { min(Processor.count, maximumJobs) }
    ) { text, _ in Int(text).flatMap { (1...maximumJobs).contains($0) ? $0 : nil } }

    package static let sync = Setting(
        "sync", expected: "fs or none", default: "fs", fallback: { UnpackRequest.Durability.fs }
    ) { text, _ in UnpackRequest.Durability(rawValue: text) }

    package static let progress = Setting(
        "progress", expected: "auto, plain, json or none", default: "auto", fallback: { ProgressStyle.auto }
    ) { text, _ in ProgressStyle(rawValue: text) }

    package static let logFormat = Setting(
        "log-format", expected: "text or json", default: "text", fallback: { LogFormat.text }
    ) { text, _ in LogFormat(rawValue: text) }

    package static let maxBytes = Setting(
        "max-bytes", expected: "a number of bytes, or a size such as 20G or 500MiB", isNumber: true,
        isSize: true,
        default: "the free space of the store", fallback: { Int64?.none }, show: { $0.map(String.init) }
    ) { text, _ in ByteSize(text).map { Optional.some($0.bytes) } }

    package static let maxEntries = Setting(
        "max-entries", expected: count, isNumber: true, default: "\(UnpackRequest.Limits.entries)",
        fallback: { UnpackRequest.Limits.entries }
    ) { text, _ in parseCount(text) }

    package static let maxRatio = Setting(
        "max-ratio", expected: count, isNumber: true, default: "any",
        fallback: { Int64?.none }, show: { $0.map(String.init) }
    ) { text, _ in parseCount(text).map(Optional.some) }

    package static let pool = Setting(
        "pool", expected: "the name of a thin pool", default: "the pool of the store",
        fallback: { String?.none }, show: { $0 }
    ) { text, _ in text.isEmpty ? nil : .some(text) }

    package static let size = Setting(
        "size", expected: "a number of bytes of at least 64 MiB, or a size such as 20G", isNumber: true,
        isSize: true, default: "that of the store, or 10 GiB in a new one", fallback: { Int64?.none },
        show: { $0.map(String.init) }
    ) { text, _ in
        // Whole blocks of every file system.
        ByteSize(text).flatMap { $0.bytes >= 64 << 20 ? .some($0.bytes / (1 << 20) * (1 << 20)) : nil }
    }

    package static let fileSystem = Setting(
        "filesystem", expected: "ext4 or xfs", default: "that of the store, or ext4 in a new one",
        fallback: { BlockFileSystem?.none }, show: { $0?.rawValue }
    ) { text, _ in BlockFileSystem(rawValue: text).map(Optional.some) }

    package static let annotationLabels = Setting(
        "annotation-labels", expected: "safe, all or none", default: "safe",
        fallback: { AnnotationLabels.safe }
    ) { text, _ in AnnotationLabels(rawValue: text) }

    /// In the order in which `unpack config` lists them.
    package static let all: [any AnySetting] = [
        root, snapshotter, jobs, sync, progress, logFormat, maxBytes, maxEntries, maxRatio, annotationLabels,
        pool, size, fileSystem,
    ]

    package static let defaultSnapshotter = "overlayfs"

    /// More threads hardly help: the kernel does not create files in one file system any faster.
    private static let maximumJobs = 16

    private static let count = "a number from 0 on"

    private static func parseCount(_ text: String) -> Int64? { Int64(text).flatMap { $0 < 0 ? nil : $0 } }

    /// Every user has a store of their own; that of root belongs to the system (XDG Base Directory Specification). Root
    /// of a user namespace that this program created counts as an ordinary user.
    private static func defaultRoot() throws -> String {
        if Process.effectiveUserID == 0, !UserNamespace.isInside { return "/var/lib/unpack" }
        // The specification says that a relative path must be ignored.
        if let data = try environmentText("XDG_DATA_HOME"), data.hasPrefix("/") { return data + "/unpack" }
        if let home = try environmentText("HOME"), home.hasPrefix("/") {
            return home + "/.local/share/unpack"
        }
        throw UnpackError(
            .usage, "there is no default for --root: HOME is not an absolute path",
            hint: "name a directory with --root DIR")
    }
}

/// How progress is reported on stderr.
package enum ProgressStyle: String, CaseIterable, Sendable {
    /// Bars on an interactive terminal, lines elsewhere.
    case auto
    /// One line per layer.
    case plain
    /// One JSON event per line.
    case json
    case none
}

/// The origin of a setting's value.
package enum SettingSource {
    case flag
    case environment(String)
    case file(FilePath)
    case `default`
}

/// A setting: `key` in the configuration file, `--key` as a flag, `UNPACK_KEY` in the environment.
package struct Setting<Value: Sendable>: AnySetting {
    package let key: String
    /// The accepted values in words, for messages: `1 to 16`.
    package let expected: String
    /// Whether its value in the configuration file is an integer; otherwise it is a string.
    package let isNumber: Bool
    /// Whether its value may also be a string with a unit.
    package let isSize: Bool
    package let defaultDescription: String
    private let fallback: @Sendable () throws -> Value
    private let show: @Sendable (Value) -> String?
    private let parse: @Sendable (String, SettingSource) -> Value?

    init(
        _ key: String, expected: String, isNumber: Bool = false, isSize: Bool = false,
        default defaultDescription: String,
        fallback: @escaping @Sendable () throws -> Value,
        show: @escaping @Sendable (Value) -> String? = { "\($0)" },
        parse: @escaping @Sendable (String, SettingSource) -> Value?
    ) {
        self.key = key
        self.expected = expected
        self.isNumber = isNumber
        self.isSize = isSize
        self.defaultDescription = defaultDescription
        self.fallback = fallback
        self.show = show
        self.parse = parse
    }

    /// Returns the value that applies.
    ///
    /// - Parameter flag: the value on the command line; nil if the flag is missing.
    package func resolve(_ flag: String? = nil) throws -> Value { try find(flag).value }

    package func find(_ flag: String? = nil) throws -> (value: Value, source: SettingSource) {
        if let flag { return try read(flag, from: .flag) }
        if let text = try environmentText(variable) { return try read(text, from: .environment(variable)) }
        return try ConfigurationFile.current.get().flatMap(find(in:)) ?? (try fallback(), .default)
    }

    /// Returns the value in a configuration file; nil if the file does not contain the setting.
    package func find(in file: ConfigurationFile) throws -> (value: Value, source: SettingSource)? {
        try file.text(of: self).map { try read($0, from: .file(file.path)) }
    }

    /// Returns the value as a flag takes it; nil for a default that no flag can express.
    package func text(of value: Value) -> String? { show(value) }

    private func read(_ text: String, from source: SettingSource) throws -> (Value, SettingSource) {
        if let value = parse(text, source) { return (value, source) }
        let shown = escaped(text.utf8)
        switch source {
        case .environment(let name):
            throw UnpackError(
                .usage, "\(name) is \(expected), not \(shown)", hint: "set it to one of these, or unset it")
        case .file(let path):
            throw UnpackError(
                .usage, "\(escaped(path)): '\(key)' is \(expected), not \(shown)",
                hint: "correct it, or remove the line")
        case .flag, .default: throw UnpackError(.usage, "--\(key) is \(expected), not \(shown)")
        }
    }
}

/// A setting with any type of value.
package protocol AnySetting: Sendable {
    associatedtype Value: Sendable
    var key: String { get }
    var expected: String { get }
    var isNumber: Bool { get }
    var isSize: Bool { get }
    var defaultDescription: String { get }
    func find(_ flag: String?) throws -> (value: Value, source: SettingSource)
    func find(in file: ConfigurationFile) throws -> (value: Value, source: SettingSource)?
    func text(of value: Value) -> String?
}

extension AnySetting {
    /// Returns the help of the setting's flag, with its environment variable and default.
    package func help(_ summary: String, valueName: String) -> ArgumentHelp {
        ArgumentHelp("\(summary) Default: $\(variable), else \(defaultDescription).", valueName: valueName)
    }

    package var variable: String { "UNPACK_" + key.uppercased().replacing("-", with: "_") }
}
