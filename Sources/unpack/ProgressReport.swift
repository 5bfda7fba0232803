internal import Kernel
internal import Layers
internal import Logging
internal import OCI
internal import Streams
internal import Unpacking

/// What is said on stderr while work goes on: one line that changes on a terminal, a line a layer elsewhere.
final class ProgressReport: Sendable {
    private enum Style { case silent, lines, terminal }

    private struct State {
        var total: Int64 = 0
        var done: Int64 = 0
        var running = [Running]()
        var lastDrawn: Int64 = 0
        var isDrawn = false
    }

    private struct Running {
        let step: LayerStep
        let started: Int64
        var bytes: Int64 = 0
    }

    /// Often enough to look alive, seldom enough to cost nothing.
    private static let interval: Int64 = 100_000_000

    private let style: Style
    private let state = Guarded(State())

    init(_ talk: TalkOptions) {
        style = talk.quiet ? .silent : Console.errorIsTerminal ? .terminal : .lines
    }

    func take(_ event: UnpackEvent) {
        if case .silent = style { return }
        state.withLock { state in
            switch event {
            case .planned(let steps, let cached):
                state.total = steps.filter { !cached.contains($0.chainID) }.reduce(0) {
                    $0 + $1.descriptor.size
                }
                if !cached.isEmpty, cached.count < steps.count {
                    say("\(cached.count) of \(steps.count) layers are there already", &state)
                }
            case .waiting(let step): say("\(step.name): waiting for another process that unpacks it", &state)
            case .started(let step):
                state.running.append(Running(step: step, started: Process.nanosecondsSinceEpoch()))
                draw(&state)
            case .progressed(let step, let bytes):
                if let index = state.running.firstIndex(where: { $0.step == step }) {
                    state.running[index].bytes = bytes
                }
                draw(&state)
            case .warned(let step, let warning): say("warning: \(step.name): \(warning.description)", &state)
            case .committed(let step):
                guard let index = state.running.firstIndex(where: { $0.step == step }) else { return }
                let running = state.running.remove(at: index)
                state.done += step.descriptor.size
                let seconds = Double(Process.nanosecondsSinceEpoch() - running.started) / 1e9
                say("\(step.name): \(megabytes(step.descriptor.size)) in \(tenths(seconds)) s", &state)
            case .read(let step):
                state.running.removeAll { $0.step == step }
                state.done += step.descriptor.size
            case .syncing: break
            }
        }
    }

    /// Leaves the terminal as it was found.
    func end() { state.withLock { clear(&$0) } }

    private func say(_ line: String, _ state: inout State) {
        clear(&state)
        Console.say("unpack: \(line)\n")
    }

    private func clear(_ state: inout State) {
        if state.isDrawn { Console.say("\r\u{1B}[K") }
        state.isDrawn = false
    }

    private func draw(_ state: inout State) {
        guard case .terminal = style, let first = state.running.first else { return }
        let now = Process.nanosecondsSinceEpoch()
        guard now - state.lastDrawn >= Self.interval else { return }
        state.lastDrawn = now
        let layers = state.running.map { running in
            "\(running.step.number) (\(running.bytes * 100 / max(running.step.descriptor.size, 1))%)"
        }
        let bytes = state.running.reduce(state.done) { $0 + $1.bytes }
        let line =
            "unpack: \(megabytes(bytes)) of \(megabytes(state.total)), layer "
            + "\(layers.joined(separator: ", ")) of \(first.step.count)"
        Console.say("\r\u{1B}[K" + line.prefix(Console.errorWidth - 1))
        state.isDrawn = true
    }
}

/// A size as people compare them: `1.2 MB`, decimal.
func megabytes(_ bytes: Int64) -> String {
    let units = ["B", "kB", "MB", "GB", "TB"]
    var value = Double(bytes)
    var unit = 0
    while value >= 1000, unit < units.count - 1 {
        value /= 1000
        unit += 1
    }
    return unit == 0 ? "\(bytes) B" : "\(tenths(value)) \(units[unit])"
}

private func tenths(_ value: Double) -> String {
    let rounded = Int((value * 10).rounded())
    return "\(rounded / 10).\(rounded % 10)"
}

extension TalkOptions {
    /// Debug messages go to stderr with `-v`, and nowhere without.
    var logger: Logger {
        var logger = Logger(label: "unpack") { _ in StandardErrorHandler() }
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

    func log(event: LogEvent) { Console.say("unpack: \(event.message)\n") }
}
