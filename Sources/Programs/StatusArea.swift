internal import Kernel

/// Lines at the bottom of a terminal that are redrawn when they change. Each change is a single write, to avoid
/// flicker.
///
/// Between writes the cursor is visible and at the beginning of the line below them, so nothing has to be restored
/// when the program ends or is stopped.
struct StatusArea {
    /// The width of each drawn line in columns.
    private var widths = [Int]()

    /// Replaces the drawn lines.
    ///
    /// - Parameter lines: printable ASCII, each narrower than the terminal.
    mutating func draw(_ lines: [String], columns: Int) {
        if lines.isEmpty, widths.isEmpty { return }
        var text = moveToFirstLine(columns)
        // Each line overwrites the previous one: erasing first would flicker.
        for line in lines { text += line + "\u{1B}[K\n" }
        Console.writeError(text + "\u{1B}[J")
        widths = lines.map(\.utf8.count)
    }

    /// Prints text that stays, above the lines. The lines disappear until the next `draw`.
    mutating func print(_ text: String) {
        guard !widths.isEmpty else { return Console.writeError(text) }
        Console.writeError(moveToFirstLine(Console.errorTerminalSize.columns) + "\u{1B}[J" + text)
        widths = []
    }

    /// Drops the drawn lines without erasing them.
    mutating func drop() { widths = [] }

    /// Returns the escape sequence that moves the cursor to the first line. A terminal that became narrower has wrapped
    /// the lines.
    private func moveToFirstLine(_ columns: Int) -> String {
        let rows = widths.reduce(0) { $0 + max(1, ($1 + columns - 1) / columns) }
        return rows > 0 ? "\r\u{1B}[\(rows)A" : ""
    }
}
