internal import ArgumentParser
internal import Kernel
internal import Programs
internal import SystemPackage
internal import Unpacking

/// Tells what holds where no flag says otherwise, and who says so.
struct ConfigCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "config", abstract: "Show each setting, and where its value comes from.",
        discussion: """
            A flag goes before the environment ($UNPACK_ROOT for --root), the environment before \
            \(ConfigurationFile.defaultPath), that before the default. $\(ConfigurationFile.variable) names another \
            file, or none if it is empty. The file has lines as: root = "/srv/unpack"
            """)

    @OptionGroup var log: LogOptions

    @Flag(help: "Print one JSON document.")
    var json = false

    private struct Document: Encodable {
        /// That is read; nil if there is none.
        let file: String?
        let settings: [Listing]
    }

    private struct Listing: Encodable {
        let key: String
        /// Nil is a default that has no value of its own.
        let value: String?
        /// `environment`, `file` or `default`.
        let source: String
        /// The variable or the file.
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
        if json {
            let file = try ConfigurationFile.current.get()?.path.string
            return try say(try attempt { try encoded(Document(file: file, settings: listings)) })
        }
        let rows = zip(Settings.all, listings).map { setting, listing in
            [
                listing.key, listing.value ?? setting.defaultInWords,
                listing.name.map { "\(listing.source) \($0)" } ?? listing.source,
            ]
        }
        try say(Table(["SETTING", "VALUE", "FROM"], rows).text)
    }
}
