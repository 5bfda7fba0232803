/// What manual pages of a program say beside `--help`. Commands are named by their words: `["unpack", "mount"]`.
package protocol ManualTexts {
    /// Of the manual: 1 has commands, 8 what the system runs.
    var section: Int { get }
    /// Those whose flags the program has.
    var settings: [any AnySetting] { get }
    /// With their meanings.
    var files: [(String, String)] { get }
    /// What only some pages have: a title, and paragraphs between empty lines.
    func chapters(of command: [String]) -> [(String, String)]
    func exitStatuses(of command: [String]) -> [(String, String)]
    /// A line to type, and what it is for.
    func examples(of command: [String]) -> [(String, String)]
    func seeAlso(_ command: CommandTree) -> String
}

extension ManualTexts {
    package var settings: [any AnySetting] { Settings.all }
    package func chapters(of command: [String]) -> [(String, String)] { [] }
}
