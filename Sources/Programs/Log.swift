package import ArgumentParser
internal import Kernel
package import Logging
package import Unpacking

/// The format of the lines on stderr.
package enum LogFormat: String, CaseIterable, Sendable {
    /// Plain text.
    case text
    /// One JSON object per line: `LogLine`.
    case json
}

/// A log line on stderr. `docs/progress.md` documents its fields.
package struct LogLine: Encodable {
    package enum Level: String, Encodable { case debug, info, warning, error }

    package let level: Level
    package var message: String?
    /// A command or setting that helps.
    package var hint: String?
    /// The exit status that the error leads to.
    package var status: Int32?

    package init(level: Level, message: String? = nil, hint: String? = nil, status: Int32? = nil) {
        self.level = level
        self.message = message
        self.hint = hint
        self.status = status
    }
}

/// The log on stderr, in the format that the user has chosen. Progress is printed separately.
package enum Log {
    /// Determined before the command line is parsed, because parser errors are logged in this format too.
    package static let format: LogFormat = {
        let typed = formatOption(in: Program.typed)
        // Parsing and resolving the setting report an invalid value.
        return (try? Settings.logFormat.resolve(typed)) ?? .text
    }()

    /// Checks the format that was asked for.
    ///
    /// - Throws: `.usage` for an unknown format.
    package static func check() throws {
        _ = try Settings.logFormat.resolve(formatOption(in: Program.typed))
    }

    private static func formatOption(in arguments: [String]) -> String? {
        let name = "--" + Settings.logFormat.key
        let flags = arguments.prefix { $0 != "--" }
        guard let index = flags.lastIndex(where: { $0 == name || $0.hasPrefix(name + "=") }) else {
            return nil
        }
        if flags[index] != name { return String(flags[index].dropFirst(name.count + 1)) }
        return index + 1 < flags.endIndex ? flags[index + 1] : nil
    }

    /// Logs a message; the text format prefixes it with the program's name.
    package static func print(_ message: String, _ level: LogLine.Level = .info) {
        print(LogLine(level: level, message: message), lines: ["\(Program.name): \(message)"])
    }

    /// - Parameter lines: replaces `message` in the text format.
    package static func print(_ remark: LogLine, lines: [String]? = nil) {
        switch format {
        case .text: write(lines ?? [remark.message ?? ""])
        case .json: write([(try? encoded(remark)) ?? ""])
        }
    }

    /// Writes lines to stderr. All output to stderr but the status area goes through this function. It escapes
    /// characters that would control a terminal or begin another line.
    package static func write(_ lines: [String]) {
        let text = lines.map { printable($0) + "\n" }.joined()
        area.withLock { $0.print(text) }
    }

    /// Replaces the status area at the bottom of the terminal; nothing is drawn by a background job, which would draw
    /// over what the user types.
    package static func drawStatus(_ lines: [String]) {
        guard lines.isEmpty || Console.errorTerminalIsOurs else { return }
        area.withLock { $0.draw(lines, columns: Console.errorTerminalSize.columns) }
    }

    /// Erases the status area, and runs `body` before anything else is written.
    static func withoutStatus(_ body: () -> Void) {
        area.withLock {
            $0.print("")
            body()
        }
    }

    /// Leaves what is on the terminal as it is: another program may have written below the status area.
    static func dropStatus() { area.withLock { $0.drop() } }

    /// Every write to the terminal first clears the status area.
    private static let area = Locked(StatusArea())
}

/// Prints an error in the chosen log format.
package struct ErrorReport {
    private let error: UnpackError

    package init(_ error: UnpackError) { self.error = error }

    package func print() {
        Log.print(
            LogLine(level: .error, message: error.message, hint: error.hint, status: error.code.exitStatus),
            lines: ["\(Program.name): \(error.lines[0])"] + error.lines.dropFirst()
                + (error.hint.map { ["hint: \($0)"] } ?? []))
    }
}

/// Declares the option. `Log.format` reads its value from the unparsed arguments.
package struct LogFormatOption: ParsableArguments {
    @Option(
        name: .customLong("log-format"),
        help: Settings.logFormat.help(
            "The format of stderr: text, or one JSON object per line (json).", valueName: "text|json"),
        completion: .list(LogFormat.allCases.map(\.rawValue)))
    package var format: String?

    package init() {}
}

/// The options for the verbosity and the format of the log.
package struct LogOptions: ParsableArguments {
    @Flag(name: [.customShort("q"), .long], help: "Print errors only.")
    package var quiet = false

    @Flag(name: [.customShort("v"), .long], help: "Print each step.")
    package var verbose = false

    @OptionGroup package var log: LogFormatOption

    package init() {}

    package func validate() throws {
        if quiet, verbose { throw ValidationError("--quiet and --verbose exclude each other") }
    }

    /// Logs debug messages only with `-v`.
    package var logger: Logger {
        var logger = Logger(label: Program.name) { _ in StandardErrorHandler() }
        logger.logLevel = verbose ? .debug : .warning
        return logger
    }
}

/// Logs without time and level.
private struct StandardErrorHandler: LogHandler {
    var metadata = Logger.Metadata()
    var logLevel = Logger.Level.warning

    subscript(metadataKey key: String) -> Logger.Metadata.Value? {
        get { metadata[key] }
        set { metadata[key] = newValue }
    }

    func log(event: LogEvent) {
        Log.print("\(event.message)", event.level >= .warning ? .warning : .debug)
    }
}
