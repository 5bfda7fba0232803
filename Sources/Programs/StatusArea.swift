internal import Kernel

/// Lines at the bottom of a terminal that are drawn again and again. Each change is one write, so that nothing flickers.
///
/// The cursor stands below them, visible, at the beginning of a line, whenever nothing is being written. So there is nothing
/// to restore, whatever ends or stops the program.
struct StatusArea {
    /// Columns that each drawn line takes.
    private var widths = [Int]()

    /// Draws lines in place of those that are there.
    ///
    /// - Parameter lines: printable ASCII, each narrower than the terminal.
    mutating func draw(_ lines: [String], columns: Int) {
        if lines.isEmpty, widths.isEmpty { return }
        var text = goingUp(columns)
        // Each line is written over the one that was there, and not erased before.
        for line in lines { text += line + "\u{1B}[K\n" }
        Console.say(text + "\u{1B}[J")
        widths = lines.map(\.utf8.count)
    }

    /// Says something that stays, above them; they are drawn again with the next change.
    mutating func say(_ text: String) {
        guard !widths.isEmpty else { return Console.say(text) }
        Console.say(goingUp(Console.errorSize.columns) + "\u{1B}[J" + text)
        widths = []
    }

    /// To the first of the lines, as many rows above as they take in a terminal that may have become narrower.
    private func goingUp(_ columns: Int) -> String {
        let rows = widths.reduce(0) { $0 + max(1, ($1 + columns - 1) / columns) }
        return rows > 0 ? "\r\u{1B}[\(rows)A" : ""
    }
}
