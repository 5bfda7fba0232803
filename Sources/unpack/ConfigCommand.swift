internal import ArgumentParser
internal import Kernel
internal import Programs
internal import SystemPackage
internal import Unpacking

/// Prints the effective value of every setting, and its source.
struct ConfigCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "config", abstract: "Show each setting, its value and its source.",
        discussion: """
            A flag overrides the environment ($UNPACK_ROOT for --root), the environment overrides \
            \(ConfigurationFile.defaultPath), and the file overrides the default. $\(ConfigurationFile.variable) names \
            another file; if it is empty, no file is read. A line of the file: root = "/srv/unpack"
            """)

    @OptionGroup(title: "Messages") var log: LogFormatOption

    @OptionGroup var output: JSONOptions

    private struct Document: Encodable {
        /// The path of the configuration file; nil if there is none.
        let file: String?
        let settings: [Listing]
    }

    private struct Listing: Encodable {
        let key: String
        /// Nil for a default that no flag can express.
        let value: String?
        /// `environment`, `file` or `default`.
        let source: String
        /// The environment variable or the file's path; nil for a default.
        let name: String?

        init(_ setting: some AnySetting) throws {
            let (found, source) = try setting.find(nil)
            key = setting.key
            value = setting.text(of: found)
            switch source {
            case .environment(let variable):
                self.source = "environment"
                name = variable
            case .file(let path):
                self.source = "file"
                name = path.string
            case .flag, .default:
                self.source = "default"
                name = nil
            }
        }
    }

    func run() throws {
        let listings = try attempt { try Settings.all.map { try Listing($0) } }
        if output.isJSON {
            let file = try ConfigurationFile.current.get()?.path.string
            return try printResult(try attempt { try encoded(Document(file: file, settings: listings)) })
        }
        let rows = zip(Settings.all, listings).map { setting, listing in
            [
                listing.key, listing.value ?? setting.defaultDescription,
                listing.name.map { "\(listing.source) \($0)" } ?? listing.source,
            ]
        }
        try printResult(Table(["SETTING", "VALUE", "FROM"], rows).text)
    }
}
