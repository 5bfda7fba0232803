import Layers
import TestSupport

/// Result of applying a stack of layers.
enum Outcome: Equatable {
    case shows([String])
    case refused(String)
    /// An error that is not a refusal; always a defect.
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

    init(applying stack: [[TarEntry]], _ variant: Variant) {
        do {
            self = .shows(try Stack(stack, variant: variant).tree.lines)
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

    /// Whether the results agree; the reasons of two refusals may differ.
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

/// A stack for which the module `Layers` gives another result than expected.
struct Disagreement: CustomStringConvertible {
    let stack: [[TarEntry]]
    let variant: Variant
    let expected: Outcome
    let found: Outcome

    /// Nil if the result is as expected.
    init?(_ stack: [[TarEntry]], _ variant: Variant, expected: Outcome) {
        let found = Outcome(applying: stack, variant)
        if found.isSame(as: expected) { return nil }
        self.stack = stack
        self.variant = variant
        self.expected = expected
        self.found = found
    }

    /// Nil if the result is that of the model, or if the layers contradict themselves.
    init?(withModelAbout stack: [[TarEntry]], _ variant: Variant) {
        guard let expected = try? Outcome(model: stack) else { return nil }
        self.init(stack, variant, expected: expected)
    }

    /// A disagreement with the model that cannot be simplified further.
    var minimal: Disagreement {
        var smallest = self
        while let smaller = simpler(smallest.stack).lazy
            .compactMap({ Disagreement(withModelAbout: $0, variant) }).first
        {
            smallest = smaller
        }
        return smallest
    }

    var description: String {
        var text = "\(variant)\n\(source(of: stack))\n"
        switch (expected, found) {
        case (.shows(let expected), .shows(let found)):
            text += expected.filter { !found.contains($0) }.map { "  expected: \($0)\n" }.joined()
            text += found.filter { !expected.contains($0) }.map { "  found:    \($0)\n" }.joined()
        default: text += "  expected: \(expected)\n  found:    \(found)\n"
        }
        return text
    }
}
