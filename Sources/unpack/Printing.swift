internal import Kernel

/// A table with headings, whose columns are as wide as their widest cell. Control characters are escaped.
struct Table {
    let text: String

    init(_ headings: [String], _ rows: [[String]]) {
        let rows = [headings] + rows.map { $0.map { escaped($0.utf8) } }
        let widths = headings.indices.map { column in rows.map { $0[column].count }.max() ?? 0 }
        text = rows.map { row in
            let cells = zip(row, widths).map { $0 + String(repeating: " ", count: $1 - $0.count) }.joined(
                separator: " ")
            return String(cells.reversed().drop { $0 == " " }.reversed())
        }.joined(separator: "\n")
    }
}
