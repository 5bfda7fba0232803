/// Lines as a tree: what belongs to something stands below it.
struct TextTree {
    let text: String
    /// Whether it is of less interest.
    let isFaint: Bool
    var children: [TextTree]

    init(_ text: String, isFaint: Bool = false, _ children: [TextTree] = []) {
        self.text = text
        self.isFaint = isFaint
        self.children = children
    }

    /// - Parameter width: columns that there are at most; nil cuts nothing and knows no colours, for programs.
    func lines(width: Int?, hasColours: Bool) -> [String] {
        var lines = [String]()
        append(to: &lines, first: "", rest: "", width, hasColours)
        return lines
    }

    private func append(
        to lines: inout [String], first: String, rest: String, _ width: Int?, _ hasColours: Bool
    ) {
        var line = first + text
        if let width, line.count > width { line = line.prefix(max(width - 1, 1)) + "…" }
        lines.append(isFaint && hasColours && width != nil ? "\u{1B}[2m\(line)\u{1B}[0m" : line)
        for (index, child) in children.enumerated() {
            let isLast = index == children.count - 1
            child.append(
                to: &lines, first: rest + (isLast ? "└─ " : "├─ "), rest: rest + (isLast ? "   " : "│  "),
                width,
                hasColours)
        }
    }
}
