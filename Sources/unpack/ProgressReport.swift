internal import ArgumentParser
internal import Kernel
internal import Layers
internal import OCI
internal import Programs
internal import Streams
internal import Unpacking

/// How much is said while an image is unpacked, and in which form.
struct ProgressOptions: ParsableArguments {
    @Option(
        name: .customLong("progress"),
        help: Settings.progress.help(
            """
            What is said meanwhile: bars on a terminal and lines elsewhere (auto), a line a layer (plain), an event a \
            line (json) or nothing (none, as with --quiet).
            """, valueName: "auto|plain|json|none"),
        completion: .list(ProgressStyle.allCases.map(\.rawValue)))
    var style: String?

    @OptionGroup var talk: TalkOptions

    fileprivate func view() throws -> any ProgressView {
        let style = try Settings.progress.resolve(style)
        if talk.quiet { return NoProgress(tellsWarnings: false) }
        switch style {
        case .none: return NoProgress(tellsWarnings: true)
        case .json: return ProgressEvents()
        case .plain: return ProgressLines()
        case .auto: return Self.isForPerson ? ProgressBars() : ProgressLines()
        }
    }

    /// Bars are for somebody who looks at a terminal that can draw them, and wants no lines for a program.
    fileprivate static var isForPerson: Bool {
        guard Console.errorIsTerminal, Talk.format == .text else { return false }
        // https://no-color.org; and what runs jobs may give them a terminal that is only a log.
        return ["NO_COLOR", "CI"].allSatisfy { environment($0) == nil }
            && environment("TERM") ?? "dumb" != "dumb"
    }
}

/// What watches an unpack. Told of one thing at a time.
protocol ProgressView: Sendable {
    mutating func take(_ event: UnpackEvent)
    mutating func end(_ outcome: Result<ChainID?, UnpackError>)
}

/// Shows what happens while an image is unpacked; told from several threads.
final class ProgressReport: Sendable {
    private let view: Guarded<any ProgressView>

    init(_ options: ProgressOptions) throws { view = Guarded(try options.view()) }

    /// For commands that only look: bars for a person who waits, and warnings.
    init(_ talk: TalkOptions) {
        view = Guarded(
            !talk.quiet && ProgressOptions.isForPerson
                ? ProgressBars() : NoProgress(tellsWarnings: !talk.quiet))
    }

    func take(_ event: UnpackEvent) { view.withLock { $0.take(event) } }

    /// Watches work to its end, says how it has ended, and leaves the terminal as it was found.
    func watch<Value>(_ body: () throws -> Value) throws -> Value {
        let outcome = Result(catching: body)
        view.withLock { view in
            switch outcome {
            case .success(let value): view.end(.success((value as? any FinishedImage)?.chainID))
            case .failure(let error as UnpackError): view.end(.failure(error))
            // A command's own way to end.
            case .failure: view.end(.success(nil))
            }
        }
        return try outcome.get()
    }
}

/// Nothing but warnings, or not even these.
struct NoProgress: ProgressView {
    let tellsWarnings: Bool

    func take(_ event: UnpackEvent) {
        if tellsWarnings, case .warned(let step, let warning) = event { tell(warning, of: step) }
    }

    func end(_ outcome: Result<ChainID?, UnpackError>) {}
}

/// A line a layer, when it is there.
struct ProgressLines: ProgressView {
    private var isReceiving = false
    private var starts = [ChainID: ContinuousClock.Instant]()

    mutating func take(_ event: UnpackEvent) {
        switch event {
        case .receiving:
            if !isReceiving { Talk.say("receiving the archive") }
            isReceiving = true
        case .planned(let steps, let cached):
            if !cached.isEmpty, cached.count < steps.count {
                Talk.say("\(cached.count) of \(steps.count) layers are there already")
            }
        case .waiting(let step): tellWait(for: step)
        case .started(let step): starts[step.chainID] = .now
        case .warned(let step, let warning): tell(warning, of: step)
        case .committed(let step):
            let elapsed = starts.removeValue(forKey: step.chainID).map { ContinuousClock.now - $0 }
            let seconds = tenths((elapsed ?? .zero) / .seconds(1))
            Talk.say("\(step.name): \(megabytes(step.descriptor.size)) in \(seconds) s")
        case .progressed, .syncing, .read: break
        }
    }

    func end(_ outcome: Result<ChainID?, UnpackError>) {}
}

func tell(_ warning: LayerWarning, of step: LayerStep) {
    let text = "\(step.name): \(warning.description)"
    Talk.say(Remark(level: .warning, message: text), lines: ["unpack: warning: \(text)"])
}

func tellWait(for step: LayerStep) { Talk.say("\(step.name): waiting for another process that unpacks it") }

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

func tenths(_ value: Double) -> String {
    let rounded = Int((value * 10).rounded())
    return "\(rounded / 10).\(rounded % 10)"
}
