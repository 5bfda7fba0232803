internal import Kernel

/// Formats a number of bytes in units of 1024, as `ctr` and `du -h` do: `52.0 KiB`.
func binarySize(_ bytes: Int64) -> String {
    var value = Double(bytes)
    var units = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"][...]
    while value >= 1024, units.count > 1 {
        value /= 1024
        units.removeFirst()
    }
    if units.count == 6 { return "\(bytes) B" }
    let tenths = Int((value * 10).rounded())
    return "\(tenths / 10).\(tenths % 10) \(units.first ?? "B")"
}

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
