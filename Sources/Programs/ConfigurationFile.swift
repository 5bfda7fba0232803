internal import Kernel
package import SystemPackage
internal import TOMLKit
internal import Unpacking

/// The settings in a configuration file (TOML 1.0), one `key = value` each.
package struct ConfigurationFile: Sendable {
    package static let defaultPath: FilePath = "/etc/unpack/config.toml"
    /// Names another file. If it is set but empty, no file is read.
    package static let variable = "UNPACK_CONFIG"
    /// Describes `variable` in manual pages.
    package static let variableDescription =
        "The configuration file to read instead of \(defaultPath); if it is empty, none is read."

    /// The configuration file of this run, read on first use; nil if there is none.
    package static let current: Result<ConfigurationFile?, any Error> = Result {
        let named = try environmentText(variable)
        if named == nil, Process.environmentVariable(variable) != nil { return nil }
        let path = named.map { FilePath($0) } ?? defaultPath
        return try ConfigurationFile(at: path, isNamed: named != nil)
    }

    package let path: FilePath
    fileprivate let values: [String: Value]

    fileprivate enum Value {
        case string(String)
        case integer(Int)
        /// A value of a type that no setting has; the associated value is TOML's name of the type.
        case other(String)
    }

    /// Bytes. Larger files are refused.
    private static let largest = 1 << 20

    /// - Parameter isNamed: whether the user named the file: if it is missing, that is an error.
    private init?(at path: FilePath, isNamed: Bool) throws {
        self.path = path
        do {
            let bytes = try File.contents(of: path, limit: Self.largest)
            values = try Self.parse(bytes, path)
        } catch let failure as SyscallFailure where failure.isMissing {
            if !isNamed { return nil }
            throw UnpackError(
                .usage, "there is no file \(escaped(path)), which \(Self.variable) names",
                hint: "unset \(Self.variable), or set it to an empty string to read no configuration file")
        } catch let failure as SyscallFailure {
            throw UnpackError(failure).prefixed(with: "cannot read the configuration file \(escaped(path)): ")
                .hinting(
                    "correct it, or name another file with \(Self.variable); if that is empty, none is read")
        }
    }

    private static func parse(_ bytes: [UInt8], _ path: FilePath) throws -> [String: Value] {
        // toml++ takes a C string, and would ignore everything after a NUL.
        guard bytes.count < largest, !bytes.contains(0), let text = String(validating: bytes, as: UTF8.self)
        else {
            throw UnpackError(
                .usage, "\(escaped(path)) is not a text in UTF-8 of less than \(largest) bytes",
                hint: "'unpack config' lists the settings that it can have")
        }
        let table: TOMLTable
        do {
            table = try TOMLTable(string: text)
        } catch let error as TOMLParseError {
            // toml++ escapes what it quotes. This is a second line of defence.
            let isPrintable = error.description.utf8.allSatisfy { (0x20...0x7E).contains($0) }
            let reason = isPrintable ? error.description : escaped(error.description.utf8)
            throw UnpackError(
                .usage,
                "\(escaped(path)), line \(error.source.begin.line): \(reason)",
                hint: #"write it as TOML: key = 3, or key = "text""#)
        }
        var values = [String: Value]()
        for key in table.keys {
            guard Settings.all.contains(where: { $0.key == key }) else {
                let known = Settings.all.map(\.key).joined(separator: ", ")
                throw UnpackError(
                    .usage, "\(escaped(path)): there is no setting '\(escaped(key.utf8))'",
                    hint: "the settings are \(known)")
            }
            values[key] = table[key].map(Value.init)
        }
        return values
    }

    /// Returns the value of a setting as a flag would take it; nil if the file does not contain it.
    func text(of setting: some AnySetting) throws -> String? {
        switch values[setting.key] {
        case nil: return nil
        case .string(let text) where !setting.isNumber || setting.isSize: return text
        case .integer(let number) where setting.isNumber: return "\(number)"
        case .some(let value):
            throw UnpackError(
                .usage,
                "\(escaped(path)): '\(setting.key)' must be \(setting.isNumber ? "an integer" : "a string"), but is \(value.kind)",
                hint: setting.isNumber
                    ? "write it without quotes: \(setting.key) = 3"
                    : #"write it in quotes: \#(setting.key) = "…""#)
        }
    }
}

extension ConfigurationFile.Value {
    fileprivate init(_ value: any TOMLValueConvertible) {
        switch value.type {
        case .string: self = .string(value.string ?? "")
        case .int: self = .integer(value.int ?? 0)
        default: self = .other(value.type.description)
        }
    }

    fileprivate var kind: String {
        switch self {
        case .string: "a string"
        case .integer: "an integer"
        case .other(let name): name == "array" ? "an array" : "a \(name)"
        }
    }
}
