import Foundation
import Glibc
import SystemPackage
import TestSupport
import Testing

/// The sources of a setting: a flag, the environment, the file, the default.
@Suite("Configuration")
struct ConfigurationTests {
    private let scratch: TemporaryDirectory
    private let file: FilePath

    init() throws {
        scratch = try TemporaryDirectory()
        file = scratch.path.appending("config.toml")
    }

    private func run(_ arguments: String..., environment: [String: String] = [:]) throws -> Command {
        try Command.run(
            [Program.path.string] + arguments,
            environment: ["UNPACK_CONFIG": file.string].merging(environment) { $1 })
    }

    private func settings(environment: [String: String] = [:]) throws -> [String: [String: String]] {
        struct Document: Decodable {
            let settings: [[String: String]]
        }
        let text = try run("config", "--json", environment: environment).succeed().text
        let document = try JSONDecoder().decode(Document.self, from: Data(text.utf8))
        return Dictionary(uniqueKeysWithValues: document.settings.map { ($0["key"] ?? "", $0) })
    }

    private static let everything = [
        "root": "/srv/unpack", "snapshotter": "native", "jobs": "3", "sync": "none", "progress": "plain",
        "log-format": "text", "max-bytes": "1", "max-entries": "2", "max-ratio": "4",
        "annotation-labels": "none", "pool": "thin", "size": "67108864", "filesystem": "xfs",
    ]

    private static func toml(_ settings: [String: String]) -> String {
        settings.map { key, value in "\(key) = \(Int(value) == nil ? "\"\(value)\"" : value)" }.joined(
            separator: "\n")
    }

    @Test("Every setting can be set in the file and in the environment, which overrides the file")
    func precedence() throws {
        try scratch.write("config.toml", Array(Self.toml(Self.everything).utf8))
        let fromFile = try settings()
        #expect(Set(fromFile.keys) == Set(Self.everything.keys))
        for (key, value) in Self.everything {
            #expect(
                fromFile[key] == ["key": key, "value": value, "source": "file", "name": file.string], "\(key)"
            )
        }
        let others = [
            "root": "/elsewhere", "snapshotter": "loop", "jobs": "5", "sync": "fs", "progress": "json",
            "log-format": "json", "max-bytes": "11", "max-entries": "12", "max-ratio": "14",
            "annotation-labels": "all", "pool": "other", "size": "134217728", "filesystem": "ext4",
        ]
        for (key, value) in others {
            let variable = "UNPACK_" + key.uppercased().replacingOccurrences(of: "-", with: "_")
            let setting = try settings(environment: [variable: value])[key]
            #expect(setting == ["key": key, "value": value, "source": "environment", "name": variable])
            // An empty variable counts as unset.
            #expect(try settings(environment: [variable: ""])[key]?["source"] == "file")
        }
    }

    @Test("Without file and environment the defaults apply, and config creates no store")
    func defaults() throws {
        let listed = try run("config", environment: ["UNPACK_CONFIG": ""]).succeed().text
        #expect(listed.contains("the free space of the store"))
        let found = try settings(environment: ["UNPACK_CONFIG": ""])
        #expect(found.values.allSatisfy { $0["source"] == "default" })
        #expect(found["max-ratio"]?["value"] == nil && found["sync"]?["value"] == "fs")
        #expect(Int(try #require(found["jobs"]?["value"])) ?? 0 > 0)
    }

    @Test("docs/configuration.md lists every setting, and the program reads its example")
    func documentation() throws {
        let page = Program.fixtures.appending("../docs/configuration.md")
        let text = try String(contentsOfFile: page.string, encoding: .utf8)
        let documented = text.split(separator: "\n").filter { $0.hasPrefix("| `") }.map { row in
            row.split(separator: "|").prefix(2).map { $0.trimmingCharacters(in: [" ", "`"]) }
        }
        #expect(Set(documented.map { $0[0] }) == Set(Self.everything.keys))
        for row in documented {
            let setting = try settings(environment: [
                row[1]: Self.everything[row[0]] ?? "", "UNPACK_CONFIG": "",
            ])
            #expect(setting[row[0]]?["source"] == "environment", "\(row)")
        }
        let example = try #require(try MarkdownBlock.all(in: page).first { $0.language == "toml" })
        try scratch.write("config.toml", Array(example.text.utf8))
        let read = try settings().filter { $0.value["source"] == "file" }
        #expect(read.count == example.text.split(separator: "\n").count)
        #expect(read["max-bytes"]?["value"] == "20000000000")
    }

    @Test(
        "A flag overrides the environment, the environment overrides the file, and the program uses the values"
    )
    func effect() throws {
        try scratch.write("config.toml", Array("root = \"\(scratch.path)/from-file\"".utf8))
        let listing = ["snapshot", "prepare", "key", "--json"]
        func source(_ arguments: [String], _ environment: [String: String] = [:]) throws -> String {
            try Command.run(
                [Program.path.string] + listing + arguments,
                environment: ["UNPACK_CONFIG": file.string, "UNPACK_SNAPSHOTTER": "native"].merging(
                    environment
                ) { $1 }
            ).succeed().text
        }
        let environment = ["UNPACK_ROOT": "\(scratch.path)/from-environment"]
        #expect(try source([]).contains("/from-file/native/"))
        #expect(try source([], environment).contains("/from-environment/native/"))
        #expect(
            try source(["--root", "\(scratch.path)/from-flag"], environment).contains("/from-flag/native/"))
    }

    @Test(
        "An error in the file is one line with the file's path, and a hint",
        arguments: [
            (
                "jobs = \"2\"", "'jobs' must be an integer, but is a string",
                "write it without quotes: jobs = 3"
            ),
            ("root = 3", "'root' must be a string, but is an integer", #"write it in quotes: root = "…""#),
            ("root = [\"/\"]", "'root' must be a string, but is an array", "write it in quotes*"),
            ("root = \"relative\"", "'root' is a directory; in the file an absolute path, not relative", "*"),
            ("snapshotter = \"aufs\"", "'snapshotter' is one of overlayfs, *, not aufs", "correct it, or *"),
            ("jobs = 0", "'jobs' is 1 to 16, not 0", "correct it, or remove the line"),
            (
                "max-bytes = -1", "'max-bytes' is a number of bytes, or a size such as 20G or 500MiB, not -1",
                "*"
            ),
            ("sync = \"always\"", "'sync' is fs or none, not always", "*"),
            ("progress = \"bar\"", "'progress' is auto, plain, json or none, not bar", "*"),
            ("log-format = \"xml\"", "'log-format' is text or json, not xml", "*"),
            ("max_bytes = 3", "there is no setting 'max_bytes'", "the settings are root, snapshotter, *"),
            ("\"a\\u001b[31m\" = 3", "there is no setting 'a\\x1b*'", "the settings are *"),
            ("[store]\nroot = \"/\"", "there is no setting 'store'", "*"),
        ])
    func wrongSetting(text: String, message: String, hint: String) throws {
        try scratch.write("config.toml", Array(text.utf8))
        let expected = "unpack: \(file): \(message)\nhint: \(hint)\n"
        let result = try run("config")
        #expect(result.status == 64 && result.text == "")
        #expect(result.errorText.matches(expected), "\(result.report)")
        // A command that does not use the setting works, as with an invalid value in the environment.
        let other = try run("umount", "/nowhere")
        let concernsAll = text.contains("log-format") || message.hasPrefix("there is no setting")
        #expect(other.status == (concernsAll ? 64 : 66), "\(other.report)")
        if concernsAll { #expect(other.errorText.matches(expected), "\(other.report)") }
    }

    @Test("A value that is wrong in the environment is an error for the commands that use it")
    func wrongVariable() throws {
        let environment = ["UNPACK_JOBS": "0", "UNPACK_CONFIG": ""]
        let config = try run("config", environment: environment)
        #expect(config.status == 64)
        #expect(config.errorText.hasPrefix("unpack: UNPACK_JOBS is 1 to 16, not 0\n"))
        #expect(try run("umount", "/nowhere", environment: environment).status == 66)
    }

    @Test("A file that cannot be read is named, with what can be done")
    func unreadable() throws {
        func expect(_ result: Command, _ status: Int32, _ reason: String) {
            #expect(result.status == status && result.text == "", "\(result.report)")
            let expected =
                "unpack: cannot read the configuration file \(file): \(reason)\nhint: *UNPACK_CONFIG*\n"
            #expect(result.errorText.matches(expected), "\(result.report)")
        }
        _ = try scratch.makeDirectory("config.toml")
        expect(try run("umount", "/nowhere"), 74, "*is a directory")
        try FileManager.default.removeItem(atPath: file.string)
        try scratch.write("config.toml", Array("jobs = 1\n".utf8))
        guard TestEnvironment.canBeOrdinary else { return }
        _ = chmod(scratch.path.string, 0o755)
        _ = chmod(file.string, 0o600)
        let user = try OrdinaryUser(.single)
        expect(
            try user.run("env", "UNPACK_CONFIG=\(file)", "unpack", "umount", "/nowhere"), 77,
            "*permission denied")
    }

    @Test(
        "Sizes have units of powers of ten, and of two if they are asked for",
        arguments: [
            ("20G", "20000000000"), ("1.5GB", "1500000000"), ("500MiB", "524288000"), ("7k", "7000"),
            ("42", "42"),
        ])
    func sizes(text: String, bytes: String) throws {
        try scratch.write("config.toml", Array("max-bytes = \"\(text)\"\n".utf8))
        #expect(try settings()["max-bytes"]?["value"] == bytes)
        try scratch.write("config.toml", [])
        #expect(try settings(environment: ["UNPACK_MAX_BYTES": text])["max-bytes"]?["value"] == bytes)
        for wrong in ["-1", "G", "1X", "1.2", "1ib", "9999999T"] {
            #expect(try run("config", environment: ["UNPACK_MAX_BYTES": wrong]).status == 64, "\(wrong)")
        }
    }

    @Test("Invalid TOML is reported with its line, and a missing file with the variable that names it")
    func wrongFile() throws {
        for (bytes, message) in [
            (Array("jobs = 1\nroot = \n".utf8), "\(file), line 2: *"),
            (Array("jobs = 1\njobs = 2\n".utf8), "\(file), line 2: *"),
            ([0x6A, 0xFF, 0x0A], "\(file) is not a text in UTF-8 of less than 1048576 bytes"),
            (Array("jobs = 1\0".utf8), "\(file) is not a text in UTF-8 of less than 1048576 bytes"),
            ([UInt8](repeating: 0x23, count: 2 << 20), "\(file) is not a text in UTF-8 of less than *"),
        ] {
            try scratch.write("config.toml", bytes)
            let result = try run("config")
            #expect(result.status == 64)
            #expect(result.errorText.matches("unpack: \(message)\nhint: *\n"), "\(result.report)")
        }
        let missing = try run("config", environment: ["UNPACK_CONFIG": "/nowhere/config.toml"])
        #expect(missing.status == 64)
        #expect(
            missing.errorText.hasPrefix("unpack: there is no file /nowhere/config.toml, which UNPACK_CONFIG"))
    }

    @Test("An error in the environment is reported with the variable")
    func wrongEnvironment() throws {
        for (variable, message) in [
            ("UNPACK_SNAPSHOTTER", "one of overlayfs, native, btrfs, loop, erofs, devmapper, zfs"),
            ("UNPACK_SYNC", "fs or none"),
            ("UNPACK_MAX_RATIO", "a number from 0 on"), ("UNPACK_LOG_FORMAT", "text or json"),
        ] {
            let result = try run("config", environment: [variable: "wrong", "UNPACK_CONFIG": ""])
            #expect(result.status == 64)
            #expect(
                result.errorText
                    == "unpack: \(variable) is \(message), not wrong\nhint: set it to one of these, or unset it\n"
            )
        }
    }

    @Test(
        "A user other than root has a store of their own",
        .enabled(if: getuid() == 0, "has to give up being root"))
    func rootless() throws {
        let environment = ["UNPACK_CONFIG": "", "HOME": "/home/user", "XDG_DATA_HOME": ""]
        // The build directory may be readable for root only.
        let program = scratch.path.appending("unpack").string
        try Command.run("install", "-m", "755", Program.path.string, program).succeed()
        func root(_ environment: [String: String]) throws -> Command {
            try Command.run(
                ["setpriv", "--reuid=65534", "--clear-groups", program, "config"], environment: environment)
        }
        #expect(try root(environment).succeed().text.contains("/home/user/.local/share/unpack "))
        let data = environment.merging(["XDG_DATA_HOME": "/data"]) { $1 }
        #expect(try root(data).succeed().text.contains("/data/unpack "))
        let homeless = try root(environment.merging(["HOME": ""]) { $1 })
        #expect(homeless.status == 64 && homeless.errorText.contains("--root DIR"), "\(homeless.report)")
    }
}
