import TestSupport

extension TarEntry {
    /// The Swift expression of the entry, to add a random finding as a row to a test.
    var source: String {
        var text = "." + call
        if mode != plainMode { text += ".mode(0o\(String(mode, radix: 8)))" }
        if uid != 0 || gid != 0 { text += ".owned(\(uid), \(gid))" }
        if seconds != 0 || nanoseconds != 0 { text += ".at(\(seconds), \(nanoseconds))" }
        for record in records { text += ".pax(\"\(record.key)\", \(record.value.array))" }
        return text
    }

    private var call: String {
        switch Character(Unicode.Scalar(type)) {
        case "0": "file(\"\(path)\", \"\(contents)\")"
        case "1": "hardLink(\"\(path)\", to: \"\(target)\")"
        case "2": "symlink(\"\(path)\", to: \"\(target)\")"
        case "3": "character(\"\(path)\", \(major), \(minor))"
        case "4": "block(\"\(path)\", \(major), \(minor))"
        case "5": "directory(\"\(path)\")"
        case "6": "fifo(\"\(path)\")"
        case let other: "type(\(other), \"\(path)\")"
        }
    }

    fileprivate var plainMode: Int64 {
        switch Character(Unicode.Scalar(type)) {
        case "2": 0o777
        case "5": 0o755
        default: 0o644
        }
    }

    /// The entry with default metadata; nil if it has no other.
    var withDefaultMetadata: TarEntry? {
        guard
            mode != plainMode || uid != 0 || gid != 0 || seconds != 0 || nanoseconds != 0 || !records.isEmpty
        else {
            return nil
        }
        var entry = mode(plainMode).owned(0, 0).at(0)
        entry.records = []
        return entry
    }
}

/// The Swift expression of a stack of layers.
func source(of stack: [[TarEntry]]) -> String {
    stack.map { "    [" + $0.map(\.source).joined(separator: ", ") + "]," }.joined(separator: "\n")
}

/// All stacks that are one step simpler: without a layer, without an entry, or with default metadata of one entry.
func simpler(_ stack: [[TarEntry]]) -> [[[TarEntry]]] {
    var simpler = [[[TarEntry]]]()
    for layer in stack.indices where stack.count > 1 {
        var copy = stack
        copy.remove(at: layer)
        simpler.append(copy)
    }
    for layer in stack.indices {
        for entry in stack[layer].indices {
            var copy = stack
            copy[layer].remove(at: entry)
            simpler.append(copy)
            if let simple = stack[layer][entry].withDefaultMetadata {
                copy = stack
                copy[layer][entry] = simple
                simpler.append(copy)
            }
        }
    }
    return simpler
}
