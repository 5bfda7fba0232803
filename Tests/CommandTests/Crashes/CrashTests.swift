import Foundation
import Glibc
import SystemPackage
import TestSupport
import Testing

/// Kills the program at each of its durable steps, or makes the step fail, and checks the store (`docs/testing.md`).
@Suite(.enabled(if: CrashStore.isPossible, "needs root and a file system for layers"))
struct CrashTests {
    /// All scenarios, or those in `UNPACK_CRASH_SCENARIOS`, separated by commas.
    static let scenarios: [CrashScenario] = {
        let all = (try? CrashScenario.all(CrashImages.shared.get())) ?? []
        return all.filter { scenario in CrashReport.chosen?.contains { $0 == scenario.description } ?? true }
    }()

    @Test(
        "After kill -9 before any step nothing is lost, and the next run gives the same store as an undisturbed one",
        arguments: scenarios)
    func killed(scenario: CrashScenario) throws {
        try ScenarioRunner(scenario, snapshotter: CrashStore.snapshotter).probe([.kill], every: 53)
    }

    @Test(
        "A step that fails gives one message, and leaves the store as it was before",
        arguments: CrashReport.hasChoice ? scenarios : scenarios.filter(\.isTypical))
    func failed(scenario: CrashScenario) throws {
        try ScenarioRunner(scenario, snapshotter: CrashStore.snapshotter)
            .probe([.noSpace, .io, .full], every: 1000)
    }

    @Test("The images for the scenarios can be built")
    func imagesCanBeMade() throws {
        _ = try CrashImages.shared.get()
        #expect(!Self.scenarios.isEmpty)
    }
}

/// The disturbance at a point.
enum Fault: String, Sendable {
    case kill
    case noSpace = "ENOSPC"
    case io = "EIO"
    case full
}

/// Runs one scenario on copies of one store.
struct ScenarioRunner {
    let scenario: CrashScenario
    let start: CrashStore
    let boot: OtherBoot?
    let points: [CrashStore.Point]
    let reference: Reference
    /// The summary of the store after the undisturbed scenario and `prune`.
    let wanted: [String]
    private let isCleanAtStart: Bool

    init(_ scenario: CrashScenario, snapshotter: String) throws {
        self.scenario = scenario
        boot = scenario.isAfterBoot ? try OtherBoot() : nil
        start = try CrashStore(snapshotter: snapshotter)
        var reference = try Self.undisturbed.get()
        for (arguments, fault) in scenario.before {
            let run = try start.run(arguments, fault: fault)
            if fault == nil { try run.command.succeed() }
            #expect(fault == nil || run.wasKilled)
        }
        if scenario.isOfDamage {
            try start.damage()
            try reference.learnDamage(of: try StoreState(of: start))
            #expect(reference.damage.count == 2)
        }
        let undisturbed = try start.copy(boot: boot)
        let run = try undisturbed.run(scenario.arguments, fault: "list")
        #expect(run.status == scenario.success, "\(run.command.report)")
        points = run.points
        try undisturbed.run(["prune", "--wait"]).command.succeed()
        let end = try StoreState(of: undisturbed)
        for row in end.rows.values where row.chain == nil { reference.users[row.name] = try end.tree(row) }
        for row in try StoreState(of: start).rows.values where row.owner == "user" {
            reference.users[row.name] = try StoreState(of: start).tree(row)
        }
        self.reference = reference
        wanted = end.summary()
        isCleanAtStart = try StoreState(of: start).leftovers(reference).isEmpty
        let mistakes = end.leftovers(reference.mended) + end.violations(reference.mended)
        #expect(!points.isEmpty && mistakes.isEmpty, "\(mistakes)")
    }

    /// The trees of the layers of both images.
    private static let undisturbed = Result {
        var reference = Reference()
        let images = try CrashImages.shared.get()
        let store = try CrashStore(snapshotter: CrashStore.snapshotter)
        for image in [images.first, images.second] {
            try store.run([image.string, "-q"]).command.succeed()
        }
        try reference.learn(try StoreState(of: store))
        return reference
    }

    /// Whether a run on a failing disk must have cleaned up by itself. It need not if it cannot: the cleanup itself
    /// failed, or the disk is full. It also must keep the directory of a transaction that was not committed, because
    /// another process may use it by then.
    fileprivate func isTidy(_ fault: Fault, at point: CrashStore.Point?, _ run: CrashStore.Run) -> Bool {
        guard fault == .noSpace || fault == .io, !scenario.isDone(run), isCleanAtStart, let point else {
            return false
        }
        return !point.isOfCleaning && !(point.step == "COMMIT" && point.subject.hasPrefix("insert("))
    }

    /// Tries points, expects no violations, and writes the report.
    func probe(_ faults: [Fault], every stride: Int) throws {
        for fault in faults { try probe(fault, at: sample(for: fault, every: stride)) }
    }

    private func sample(for fault: Fault, every stride: Int) -> [CrashStore.Point] {
        var sample = CrashReport.sample(points, every: stride)
        // Steps in the tree of an unfinished layer are equivalent: only one scenario tries each kind.
        if !CrashReport.isComplete, !scenario.hasEveryKind { sample.removeAll(where: \.isOfContent) }
        switch fault {
        // Before a transaction begins the store is the same as after the previous step.
        case .kill: return CrashReport.isComplete ? sample : sample.filter { $0.step != "BEGIN" }
        case .noSpace, .io:
            let candidates = sample.filter(\.canFail)
            if CrashReport.isComplete { return candidates }
            // Alternately, because the program handles both errors in the same way.
            let isFirst = fault == .noSpace
            return candidates.enumerated().filter { ($0.offset % 2 == 0) == isFirst }.map(\.element)
        // A step that needs no space succeeds on a full disk, and the next one that needs space is a point of its own.
        case .full: return CrashReport.isComplete ? sample : sample.filter(\.needsRoom)
        }
    }

    private func probe(_ fault: Fault, at sample: [CrashStore.Point]) throws {
        var lines = [String]()
        var failed = 0
        for point in sample {
            // After the fault either the same command or `prune` comes first.
            let orders =
                fault == .kill && CrashReport.isComplete ? [true, false] : [point.number % 2 == 0]
            for again in orders {
                let trial = try Trial(fault, at: point.number, again: again, in: self)
                lines.append(trial.line)
                if !trial.violations.isEmpty { failed += 1 }
                #expect(trial.violations.isEmpty, "\(trial.line)")
            }
        }
        CrashReport.add(
            lines + [
                "# \(scenario), \(fault.rawValue): \(points.count) points, \(sample.count) tried, \(failed) wrong",
                "#   \(CrashReport.kinds(points))",
            ])
    }

    /// One disturbed run, and the commands and checks after it.
    struct Trial {
        private(set) var violations = [String]()
        let line: String

        /// - Parameter again: whether the same command runs before `prune`; else after it.
        init(_ fault: Fault, at number: Int, again: Bool, in runner: ScenarioRunner) throws {
            let scenario = runner.scenario
            let store = try runner.start.copy(boot: runner.boot)
            let run = try store.run(scenario.arguments, fault: "\(number):\(fault.rawValue)")
            var violations = [String]()
            func inspect(
                _ when: String, isQuiet: Bool = false, isMended: Bool = false
            ) throws -> StoreState {
                let state = try StoreState(of: store)
                let reference = isMended ? runner.reference.mended : runner.reference
                violations += state.violations(reference).map { "\(when): \($0)" }
                if isQuiet { violations += state.leftovers(reference).map { "\(when): \($0)" } }
                return state
            }
            func act(_ arguments: [String], _ allowed: Set<Int32>) throws {
                let next = try store.run(arguments)
                if !allowed.contains(next.status) { violations.append(next.command.report) }
            }

            let point = run.points.first { $0.number == number }
            let before = run.points.last { $0.number < number }
            let isDone = scenario.isDone(run)
            if fault == .kill {
                if point != nil, !run.wasKilled { violations.append("not killed: \(run.command.report)") }
            } else if !isDone {
                violations += Self.complaints(about: run.command, scenario)
            }
            let crashed = try inspect("at once", isQuiet: runner.isTidy(fault, at: point, run))
            if CrashReport.isComplete { try act(["images"], [0]) }
            if again { try act(scenario.arguments, [0, scenario.statusWhenDone]) }
            let second = again ? try inspect("when it was done again", isMended: true) : crashed
            if scenario.keepsLayers {
                for row in crashed.rows.values where crashed.isTrusted(row) && second.rows[row.id] != row {
                    // The row may have changed because the layer was synced meanwhile.
                    guard second.rows[row.id]?.chain != row.chain else { continue }
                    violations.append("\(row.name) was committed, and is gone")
                }
            }
            try act(["prune", "--wait"], [0])
            let pruned = try inspect("after prune", isQuiet: true, isMended: again || isDone)
            if !again {
                if isDone, pruned.summary() != runner.wanted {
                    violations.append("it was said to be done, and it is not")
                }
                try act(scenario.arguments, [0, scenario.statusWhenDone])
                try act(["prune", "--wait"], [0])
            }
            if let check = scenario.check { try act(check, [0]) }
            let isSame = again && scenario.check == nil
            let end = isSame ? pruned : try inspect("in the end", isQuiet: true, isMended: true)
            if end.summary() != runner.wanted {
                violations.append(
                    "in the end: "
                        + difference(
                            end.summary().joined(separator: "\n"), runner.wanted.joined(separator: "\n")))
            }
            self.violations = violations
            let outcome = violations.isEmpty ? "right" : "WRONG: " + violations.joined(separator: "; ")
            line =
                "\(scenario), \(fault.rawValue) at \(number) \(point?.description ?? "(not come to)"), after "
                + "\(before?.description ?? "nothing"), \(again ? "again" : "prune") next: \(run.status), \(outcome)"
        }

        /// Checks the end of a run on a failing disk: its exit status, and one message with the error.
        private static func complaints(about command: Command, _ scenario: CrashScenario) -> [String] {
            var found = [String]()
            if !scenario.failures.contains(command.status) {
                found.append("status \(command.status): \(command.report)")
            }
            let lines = command.errorText.split(separator: "\n").filter { !$0.hasPrefix("hint: ") }
            let says = ["no space left", "input/output error", "database"].contains {
                lines.first?.contains($0) == true
            }
            // `verify` continues after an error, and prints one line per failure.
            if lines.count != 1 && !scenario.isOfDamage || !says {
                found.append("no clear message: \(command.errorText)")
            }
            return found
        }
    }
}
