internal import Programs

extension ManualPage {
    /// unpack.toml(5).
    static var configuration: ManualPage {
        var roff = Roff("unpack.toml", section: 5)
        roff.section("NAME", "unpack.toml - the settings of unpack(1)")
        roff.section("SYNOPSIS", "\(ConfigurationFile.defaultPath)")
        roff.section("DESCRIPTION")
        roff.prose(Self.configurationText)
        roff.section("SETTINGS")
        for setting in Settings.all {
            let kind =
                setting.isSize ? "an integer or a string" : setting.isNumber ? "an integer" : "a string"
            roff.item(
                setting.key,
                "As --\(setting.key); \(kind): \(setting.expected). Default: \(setting.defaultDescription).")
        }
        roff.section("ENVIRONMENT")
        roff.item("\(ConfigurationFile.variable)", ConfigurationFile.variableDescription)
        roff.section("EXAMPLES")
        roff.prose("  root = \"/srv/unpack\"\n  jobs = 2\n  max-bytes = 20000000000\n  progress = \"plain\"")
        roff.section("SEE ALSO", "unpack(1), unpack-config(1)")
        return ManualPage(fileName: "unpack.toml.5", text: roff.text)
    }

    private static let configurationText = """
        Defaults for the options of unpack(1). The file is TOML: lines of a key, an equals sign and a value. A flag overrides \
        the environment, and the environment overrides the file.

        With an unknown key every command fails with exit status 64, and with an invalid value each that uses the setting. \
        unpack-config(1) lists the value of each setting and its source.
        """
}
