import SystemPackage
import TestSupport
import Testing

/// What `--help` prints.
@Suite("Help")
struct HelpTests {
    private func run(_ arguments: String...) throws -> Command {
        try Command.run([Program.path.string] + arguments, environment: ["UNPACK_CONFIG": ""])
    }

    @Test("The help of the program begins with the commands in groups, and ends with examples")
    func program() throws {
        let text = try run("--help").succeed().text
        let headings = text.split(separator: "\n").filter { !$0.hasPrefix(" ") && $0.hasSuffix(":") }
        #expect(
            headings == [
                "Look into an image:", "Mount:", "The store:", "This machine:", "Arguments:", "Which image:",
                "Store:",
                "Options:", "Limits:", "Messages:", "Examples:",
            ])
        #expect(text.hasPrefix("usage: unpack IMAGE [OPTIONS]\n       unpack COMMAND ...\n"))
        let mount = text.split(separator: "\n").filter { $0.hasPrefix("  mount ") }
        #expect(
            mount.count == 1 && mount[0].hasSuffix("Mount an image, a chain or a snapshot on a directory."))
        #expect(text.split(separator: "\n").allSatisfy { $0.utf8.count <= 100 })
        for form in [["-h"], ["help"]] { #expect(try run(form[0]).succeed().text == text) }
    }

    @Test("The help of a command is the same in each form")
    func command() throws {
        let text = try run("snapshot", "prepare", "--help").succeed().text
        #expect(text.hasPrefix("usage: unpack snapshot prepare KEY [PARENT] [OPTIONS]\n"))
        #expect(text.contains("\nExamples:\n"))
        #expect(try run("help", "snapshot", "prepare").succeed().text == text)
        #expect(try run("snapshot", "prepare", "work", "-h").succeed().text == text)
        // The words after a program are the program's.
        let passed = try run("run-in-namespace", "--help").succeed().text
        #expect(passed.hasPrefix("usage: unpack run-in-namespace "))
    }

    @Test(
        "Nothing but a result goes to stdout",
        arguments: [[], ["help", "nosuch"], ["snapshot"], ["--nosuch"]])
    func errors(arguments: [String]) throws {
        let result = try Command.run([Program.path.string] + arguments, environment: ["UNPACK_CONFIG": ""])
        #expect(result.status == 64 && result.text.isEmpty && !result.errorText.isEmpty)
    }
}
