internal import Kernel
internal import OCI
internal import Programs
internal import Unpacking

/// Progress bars on a terminal: one for each layer that is read, and one for the total.
struct ProgressBars: ProgressView {
    /// Minimum time between two redraws.
    private static let interval = Duration.milliseconds(100)

    private var layers = [Layer]()
    /// Bytes of the blobs of all layers that are to be unpacked.
    private var total: Int64 = 0
    private var committed: (count: Int, bytes: Int64) = (0, 0)
    /// Bytes of the layers that were read without being committed to a store.
    private var read: Int64 = 0
    private var isSyncing = false
    private var rate = Rate()
    private var layout = ProgressBar.Layout()
    private let start = ContinuousClock.now
    private var lastDrawn: ContinuousClock.Instant?

    private struct Layer {
        let step: LayerStep
        var bytes: Int64 = 0
        var isRead: Bool { bytes >= step.descriptor.size }
    }

    mutating func take(_ event: UnpackEvent) {
        switch event {
        case .receiving(let bytes): Log.drawStatus(["receiving the archive: \(decimalSize(bytes))"])
        case .planned(let steps, let cached):
            Log.drawStatus([])
            total = steps.reduce(0) { $0 + (cached.contains($1.chainID) ? 0 : $1.descriptor.size) }
        case .waiting(let step): logWait(for: step)
        case .started(let step):
            layers.append(Layer(step: step))
            draw()
        case .progressed(let step, let bytes):
            guard let index = layers.firstIndex(where: { $0.step == step }) else { return }
            layers[index].bytes = bytes
            draw()
        case .warned(let step, let message): logWarning(message, of: step)
        case .committed(let step):
            layers.removeAll { $0.step == step }
            committed.count += 1
            committed.bytes += step.descriptor.size
            draw()
        case .read(let step):
            layers.removeAll { $0.step == step }
            read += step.descriptor.size
            draw()
        case .syncing:
            isSyncing = committed.count > 0
            if isSyncing { draw(isUrgent: true) }
        }
    }

    mutating func end(_ outcome: Result<ChainID?, UnpackError>) {
        Log.drawStatus([])
        guard case .success = outcome, committed.count > 0 else { return }
        let seconds = tenths((ContinuousClock.now - start) / .seconds(1))
        let count = committed.count == 1 ? "1 layer" : "\(committed.count) layers"
        Log.print("\(count), \(decimalSize(committed.bytes)) in \(seconds) s")
    }

    private mutating func draw(isUrgent: Bool = false) {
        let now = ContinuousClock.now
        if !isUrgent, let lastDrawn, now - lastDrawn < Self.interval { return }
        lastDrawn = now
        let bytes = layers.reduce(committed.bytes + read) { $0 + $1.bytes }
        rate.add(bytes, at: now)
        let size = Console.errorTerminalSize
        // The cursor takes one row.
        guard size.rows > 1 else { return }
        // The total takes one row, the cursor another. If there are too few rows, layers that are still read take
        // precedence over layers that wait for lower ones.
        let shown = (layers.filter { !$0.isRead } + layers.filter(\.isRead)).prefix(size.rows - 2)
        var bars = shown.sorted { $0.step.number < $1.step.number }.map { layer in
            ProgressBar(
                label: "layer \(layer.step.number) of \(layer.step.count)",
                shortLabel: "\(layer.step.number)/\(layer.step.count)", done: layer.bytes,
                of: layer.step.descriptor.size)
        }
        var all = ProgressBar(label: "total", shortLabel: "all", done: bytes, of: total)
        if isSyncing {
            (all.note, all.shortNote) = ("writing to the disk", "writing")
        } else if bytes >= total {
            (all.note, all.shortNote) = ("finishing", "finishing")
        } else {
            all.note = rate.text(for: total - bytes)
            all.shortNote = rate.shortText(for: total - bytes)
        }
        bars.append(all)
        Log.drawStatus(layout.lines(bars, columns: size.columns))
    }
}

/// One bar, with a label before it and numbers and a note after it.
struct ProgressBar {
    let label: String
    /// For narrow terminals.
    let shortLabel: String
    let done: Int64
    let size: Int64
    var note = ""
    /// For narrow terminals.
    var shortNote = ""

    init(label: String, shortLabel: String, done: Int64, of size: Int64) {
        self.label = label
        self.shortLabel = shortLabel
        self.done = done
        self.size = size
    }

    /// The layout of several bars below each other, which all have the same length.
    struct Layout {
        /// The minimum length of a bar, in columns.
        private static let minimumBar = 8

        /// The widest text so far before and after the bars, for each of the three forms. Widths never shrink, so that
        /// the bars do not change their length with every number.
        private var widths = [(left: Int, right: Int)](repeating: (0, 0), count: 3)

        /// Formats the bars in the longest form that fits the width.
        mutating func lines(_ bars: [ProgressBar], columns: Int) -> [String] {
            // The last column stays free: some terminals wrap after a full line.
            let columns = max(1, columns - 1)
            let long = bars.map { Words($0.label, $0.sizes, $0.note) }
            let middle = bars.map { Words($0.shortLabel, decimalSize($0.done), $0.shortNote) }
            let short = bars.map { Words($0.shortLabel, "", $0.shortNote) }
            for (form, words) in [long, middle, short].enumerated() {
                let left = words.map(\.left.utf8.count).reduce(widths[form].left, max)
                let right = words.map(\.right.utf8.count).reduce(widths[form].right, max)
                widths[form] = (left, right)
                // 9 columns: two spaces, two brackets, and five for the percentage.
                let bar = columns - left - (right > 0 ? right + 2 : 0) - 9
                guard bar >= Self.minimumBar else { continue }
                return zip(bars, words).map {
                    $0.line(left: $1.left, padded: left, bar: bar, right: $1.right)
                }
            }
            return bars.map { String("\($0.shortLabel) \($0.percentage)%".prefix(columns)) }
        }
    }

    private struct Words {
        let left: String
        let right: String

        init(_ left: String, _ middle: String, _ right: String) {
            self.left = left
            self.right = [middle, right].filter { !$0.isEmpty }.joined(separator: "  ")
        }
    }

    private func line(left: String, padded width: Int, bar length: Int, right: String) -> String {
        let filled = size > 0 ? Int(Double(length) * Double(min(done, size)) / Double(size)) : length
        let bar = String(repeating: "=", count: filled) + (filled < length ? ">" : "")
        let percent = "\(percentage)%"
        let line =
            left + String(repeating: " ", count: width - left.utf8.count) + "  [" + bar
            + String(repeating: " ", count: length - bar.utf8.count) + "]"
            + String(repeating: " ", count: 5 - percent.utf8.count) + percent
        return right.isEmpty ? line : line + "  " + right
    }

    private var percentage: Int64 { size > 0 ? min(done, size) * 100 / size : 100 }

    private var sizes: String { "\(decimalSize(min(done, size))) of \(decimalSize(size))" }
}

/// The average rate of the last seconds.
private struct Rate {
    private static let window = Duration.seconds(5)
    /// The shortest time that gives a meaningful rate.
    private static let minimumSpan = Duration.milliseconds(500)

    private var samples = [(bytes: Int64, time: ContinuousClock.Instant)]()

    mutating func add(_ bytes: Int64, at time: ContinuousClock.Instant) {
        samples.removeAll { time - $0.time > Self.window }
        samples.append((bytes, time))
    }

    private var bytesPerSecond: Double? {
        guard let first = samples.first, let last = samples.last, last.time - first.time >= Self.minimumSpan
        else {
            return nil
        }
        let rate = Double(last.bytes - first.bytes) / ((last.time - first.time) / .seconds(1))
        return rate > 0 ? rate : nil
    }

    func text(for rest: Int64) -> String {
        guard let rate = bytesPerSecond else { return "" }
        return "\(decimalSize(Int64(rate)))/s"
            + (rest > 0 ? "  \(Self.duration(Double(rest) / rate)) left" : "")
    }

    func shortText(for rest: Int64) -> String {
        guard let rate = bytesPerSecond, rest > 0 else { return "" }
        return Self.duration(Double(rest) / rate)
    }

    private static func duration(_ seconds: Double) -> String {
        guard seconds < 360_000 else { return "days" }
        let seconds = Int(seconds.rounded(.up))
        let (minutes, rest) = seconds.quotientAndRemainder(dividingBy: 60)
        if minutes == 0 { return "\(seconds) s" }
        return minutes < 60 ? "\(minutes) min \(rest) s" : "\(minutes / 60) h \(minutes % 60) min"
    }
}
