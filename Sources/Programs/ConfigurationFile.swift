internal import Kernel
package import SystemPackage
internal import TOMLKit
internal import Unpacking

/// The settings that a file holds (TOML 1.0), one `key = value` each.
package struct ConfigurationFile: Sendable {
    package static let defaultPath: FilePath = "/etc/unpack/config.toml"
    /// Names another file; empty it means that none is read.
    package static let variable = "UNPACK_CONFIG"
    /// For manual pages.
    package static let variableInWords =
        "Another configuration file than \(defaultPath); empty, none is read."

    /// The file that this run goes by, read once and when it is first asked for; nil where there is none.
    package static let current: Result<ConfigurationFile?, any Error> = Result {
        let named = try environmentText(variable)
        if named == nil, Process.environmentVariable(variable) != nil { return nil }
        let path = named.map { FilePath($0) } ?? defaultPath
        guard let file = try ConfigurationFile(at: path, isNamed: named != nil) else { return nil }
        // What is wrong is told by whatever runs first, and not by what needs it first.
        for setting in Settings.all { _ = try setting.find(in: file) }
        return file
    }

    package let path: FilePath
    fileprivate let values: [String: Value]

    fileprivate enum Value {
        case string(String)
        case integer(Int)
        /// What no setting is, as TOML calls it.
        case other(String)
    }

    /// More is no list of settings.
    private static let largest = 1 << 20

    /// - Parameter isNamed: whether somebody expects it to be there.
    private init?(at path: FilePath, isNamed: Bool) throws {
        self.path = path
        do {
            let bytes = try File.contents(of: path, limit: Self.largest)
            values = try Self.parse(bytes, path)
        } catch let failure as SyscallFailure where failure.isMissing {
            if !isNamed { return nil }
            throw UnpackError(
                .usage, "there is no file \(escaped(path)), which \(Self.variable) names",
                hint: "unset \(Self.variable); empty it means that no configuration file is read")
        }
    }

    private static func parse(_ bytes: [UInt8], _ path: FilePath) throws -> [String: Value] {
        // A C string ends at a NUL: what follows one would be overlooked.
        guard bytes.count < largest, !bytes.contains(0), let text = String(validating: bytes, as: UTF8.self)
        else {
            throw UnpackError(
                .usage, "\(escaped(path)) is no text in UTF-8 of less than \(largest) bytes",
                hint: "'unpack config' lists what it may say")
        }
        let table: TOMLTable
        do {
            table = try TOMLTable(string: text)
        } catch let error as TOMLParseError {
            // toml++ escapes by itself what it quotes; this is for what it may overlook.
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
                    hint: "there are \(known)")
            }
            values[key] = table[key].map(Value.init)
        }
        return values
    }

    /// What it says of a setting, as a flag would have it; nil where it says nothing.
    func text(of setting: some AnySetting) throws -> String? {
        switch values[setting.key] {
        case nil: return nil
        case .string(let text) where !setting.isNumber: return text
        case .integer(let number) where setting.isNumber: return "\(number)"
        case .some(let value):
            throw UnpackError(
                .usage,
                "\(escaped(path)): '\(setting.key)' has to be \(setting.isNumber ? "an integer" : "a string"), and is \(value.kind)",
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
