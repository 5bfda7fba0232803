internal import Kernel
internal import Programs
internal import Serving

/// Logs calls on stderr: all of them as JSON with their level, or as text those that change something or fail.
struct CallLogger {
    private let minimumLevel: CallRecord.Level

    init(_ log: LogOptions) {
        minimumLevel = log.quiet ? .error : log.verbose || Log.format == .json ? .debug : .info
    }

    @Sendable func log(_ call: CallRecord) {
        guard call.level >= minimumLevel else { return }
        switch Log.format {
        case .json: Log.write([(try? encoded(call)) ?? ""])
        case .text: Log.write(["\(Program.name): \(line(call))"])
        }
    }

    private func line(_ call: CallRecord) -> String {
        var words = [call.method]
        if let snapshotter = call.snapshotter { words.append(escaped(snapshotter.utf8)) }
        for (word, value) in [
            ("", call.key), ("as ", call.name), ("on ", call.parent), ("", call.digest),
        ] {
            if let value { words.append("\(word)'\(escaped(value.utf8))'") }
        }
        let outcome = call.message.map { "\(call.code): \($0)" } ?? "\(call.milliseconds) ms"
        return words.joined(separator: " ") + ": " + outcome
    }
}
