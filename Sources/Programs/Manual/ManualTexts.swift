/// The texts of a program's manual pages that `--help` does not contain.
///
/// Commands are identified by their full names: `["unpack", "mount"]`.
package protocol ManualTexts {
    /// The section of the manual: 1 for user commands, 8 for system administration.
    var section: Int { get }
    /// The settings whose flags the program has.
    var settings: [any AnySetting] { get }
    /// Paths and their descriptions.
    var files: [(String, String)] { get }
    /// Additional sections of a page: a title, and paragraphs separated by empty lines.
    func chapters(of command: [String]) -> [(String, String)]
    func exitStatuses(of command: [String]) -> [(String, String)]
    /// Command lines and their descriptions.
    func examples(of command: [String]) -> [(String, String)]
    func seeAlso(_ command: CommandTree) -> String
}

extension ManualTexts {
    package var settings: [any AnySetting] { Settings.all }
    package func chapters(of command: [String]) -> [(String, String)] { [] }
}
