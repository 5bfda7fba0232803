import Layers
import TestSupport

/// What comes of a stack of layers.
enum Outcome: Equatable {
    case shows([String])
    case refused(String)
    /// What neither may do.
    case failed(String)

    init(model stack: [[TarEntry]]) throws(MergedModel.Contradiction) {
        do {
            self = .shows(try MergedModel(stack).lines)
        } catch let refusal as MergedModel.Refusal {
            self = .refused(refusal.reason)
        } catch let contradiction as MergedModel.Contradiction {
            throw contradiction
        } catch {
            self = .failed("\(error)")
        }
    }

    init(room stack: [[TarEntry]], _ way: Way) {
        do {
            self = .shows(try Stack(stack, way: way).tree.lines)
        } catch let failure as LayerFailure {
            if case .refused(let reason) = failure.cause {
                self = .refused(reason)
            } else {
                self = .failed("\(failure)")
            }
        } catch {
            self = .failed("\(error)")
        }
    }

    /// Why something is refused is said in other words.
    func isSame(as other: Outcome) -> Bool {
        switch (self, other) {
        case (.refused, .refused): true
        case (.failed, _), (_, .failed): false
        default: self == other
        }
    }

    var isRefusal: Bool {
        if case .refused = self { return true }
        return false
    }
}

/// A stack that the room takes otherwise than somebody else.
struct Disagreement: CustomStringConvertible {
    let stack: [[TarEntry]]
    let way: Way
    let expected: Outcome
    let found: Outcome

    /// Nil where the room does as expected.
    init?(_ stack: [[TarEntry]], _ way: Way, expected: Outcome) {
        let found = Outcome(room: stack, way)
        if found.isSame(as: expected) { return nil }
        self.stack = stack
        self.way = way
        self.expected = expected
        self.found = found
    }

    /// Nil where the room does as the model, or where the layers contradict themselves.
    init?(withModelAbout stack: [[TarEntry]], _ way: Way) {
        guard let expected = try? Outcome(model: stack) else { return nil }
        self.init(stack, way, expected: expected)
    }

    /// One with the model in as few words as it takes.
    var minimal: Disagreement {
        var smallest = self
        while let smaller = simpler(smallest.stack).lazy
            .compactMap({ Disagreement(withModelAbout: $0, way) }).first
        {
            smallest = smaller
        }
        return smallest
    }

    var description: String {
        var text = "\(way)\n\(source(of: stack))\n"
        switch (expected, found) {
        case (.shows(let expected), .shows(let found)):
            text += expected.filter { !found.contains($0) }.map { "  expected: \($0)\n" }.joined()
            text += found.filter { !expected.contains($0) }.map { "  found:    \($0)\n" }.joined()
        default: text += "  expected: \(expected)\n  found:    \(found)\n"
        }
        return text
    }
}
