internal import Kernel

/// A tree of lines, drawn with box-drawing characters.
struct TextTree {
    let text: String
    /// Whether the line is drawn faint on a terminal.
    let isFaint: Bool
    var children: [TextTree]

    init(_ text: String, isFaint: Bool = false, _ children: [TextTree] = []) {
        self.text = printable(text)
        self.isFaint = isFaint
        self.children = children
    }

    /// - Parameter width: the maximum width of a line, in columns; nil if stdout is not a terminal: nothing is cut.
    func lines(width: Int?) -> [(text: String, isFaint: Bool)] {
        var lines = [(String, Bool)]()
        append(to: &lines, first: "", rest: "", width)
        return lines
    }

    private func append(to lines: inout [(String, Bool)], first: String, rest: String, _ width: Int?) {
        var line = first + text
        if let width, line.count > width { line = line.prefix(max(width - 1, 1)) + "…" }
        lines.append((line, isFaint))
        for (index, child) in children.enumerated() {
            let isLast = index == children.count - 1
            child.append(
                to: &lines, first: rest + (isLast ? "└─ " : "├─ "), rest: rest + (isLast ? "   " : "│  "),
                width)
        }
    }
}
