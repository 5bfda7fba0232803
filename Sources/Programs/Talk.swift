package import ArgumentParser
internal import Kernel
package import Logging
internal import Streams
package import Unpacking

/// How what is said on stderr looks.
package enum LogFormat: String, CaseIterable, Sendable {
    /// Lines for people.
    case text
    /// One JSON object a line: `Remark`.
    case json
}

/// Something that is said on stderr. Its fields are documented in `docs/progress.md`.
package struct Remark: Encodable {
    package enum Level: String, Encodable { case debug, info, warning, error }

    package let level: Level
    package var message: String?
    /// A remedy.
    package var hint: String?
    /// The exit status that it comes to.
    package var status: Int32?

    package init(level: Level, message: String? = nil, hint: String? = nil, status: Int32? = nil) {
        self.level = level
        self.message = message
        self.hint = hint
        self.status = status
    }
}

/// What is said on stderr beside progress, in the one form that this run has chosen.
package enum Talk {
    /// Needed before the command line is parsed, which may fail and is told in this form, too.
    package static let format: LogFormat = {
        let typed = typedFormat(Program.typed)
        // What is wrong with a setting is told by whoever parses or resolves it next.
        return (try? Settings.logFormat.resolve(typed)) ?? .text
    }()

    /// Whether that form is one of those that there are.
    package static func check() throws {
        _ = try Settings.logFormat.resolve(typedFormat(Program.typed))
    }

    private static func typedFormat(_ arguments: [String]) -> String? {
        let name = "--" + Settings.logFormat.key
        let flags = arguments.prefix { $0 != "--" }
        guard let index = flags.lastIndex(where: { $0 == name || $0.hasPrefix(name + "=") }) else {
            return nil
        }
        if flags[index] != name { return String(flags[index].dropFirst(name.count + 1)) }
        return index + 1 < flags.endIndex ? flags[index + 1] : nil
    }

    /// A line for a person, with the program's name in front.
    package static func say(_ message: String, _ level: Remark.Level = .info) {
        say(Remark(level: level, message: message), lines: ["\(Program.name): \(message)"])
    }

    /// - Parameter lines: the text form, if it is not `message` alone.
    package static func say(_ remark: Remark, lines: [String]? = nil) {
        switch format {
        case .text: write(lines ?? [remark.message ?? ""])
        case .json: write([(try? encoded(remark)) ?? ""])
        }
    }

    /// Writes lines. The only way to stderr but for the status area: a character that would steer a terminal, or begin another
    /// line, is escaped here at the latest.
    package static func write(_ lines: [String]) {
        let text = lines.map { printable($0) + "\n" }.joined()
        area.withLock { $0.say(text) }
    }

    /// The lines at the bottom of the terminal, instead of those that are there.
    package static func drawStatus(_ lines: [String]) {
        area.withLock { $0.draw(lines, columns: Console.errorSize.columns) }
    }

    /// Whoever says something has it in his way.
    private static let area = Guarded(StatusArea())
}

/// One error as whoever reads it wants it.
package struct ErrorReport {
    private let error: UnpackError

    package init(_ error: UnpackError) { self.error = error }

    package func say() {
        Talk.say(
            Remark(level: .error, message: error.message, hint: error.hint, status: error.code.exitStatus),
            lines: ["\(Program.name): \(error.lines[0])"] + error.lines.dropFirst()
                + (error.hint.map { ["hint: \($0)"] } ?? []))
    }
}

/// In which form it is said. `Talk` reads it by itself.
package struct LogOptions: ParsableArguments {
    @Option(
        name: .customLong("log-format"),
        help: Settings.logFormat.help(
            "What stderr has: text, or one JSON object a line (json).", valueName: "text|json"),
        completion: .list(LogFormat.allCases.map(\.rawValue)))
    package var format: String?

    package init() {}
}

/// How much is said, and in which form.
package struct TalkOptions: ParsableArguments {
    @Flag(name: [.customShort("q"), .long], help: "Say nothing but errors.")
    package var quiet = false

    @Flag(name: [.customShort("v"), .long], help: "Say what is done, step by step.")
    package var verbose = false

    @OptionGroup package var log: LogOptions

    package init() {}

    /// Debug messages go to stderr with `-v`, and nowhere without.
    package var logger: Logger {
        var logger = Logger(label: Program.name) { _ in StandardErrorHandler() }
        logger.logLevel = verbose ? .debug : .warning
        return logger
    }
}

/// Lines without time or level: they are for a person who just asked for them.
private struct StandardErrorHandler: LogHandler {
    var metadata = Logger.Metadata()
    var logLevel = Logger.Level.warning

    subscript(metadataKey key: String) -> Logger.Metadata.Value? {
        get { metadata[key] }
        set { metadata[key] = newValue }
    }

    func log(event: LogEvent) {
        Talk.say("\(event.message)", event.level >= .warning ? .warning : .debug)
    }
}
