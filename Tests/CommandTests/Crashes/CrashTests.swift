import Foundation
import Glibc
import SystemPackage
import TestSupport
import Testing

/// Stops the program at each of its durable steps, or fails them, and looks at what is left (`docs/testing.md`).
@Suite(.enabled(if: CrashStore.isPossible, "needs root and a file system for layers"))
struct CrashTests {
    /// All of them, or those that `UNPACK_CRASH_SCENARIOS` names, separated by commas.
    static let scenarios: [CrashScenario] = {
        let all = (try? CrashScenario.all(CrashImages.shared.get())) ?? []
        return all.filter { scenario in CrashReport.chosen?.contains { $0 == scenario.description } ?? true }
    }()

    @Test(
        "Killed before any step, the store has lost nothing, and the next run leaves it as if nothing had been",
        arguments: scenarios)
    func killed(scenario: CrashScenario) throws {
        try Laboratory(scenario, snapshotter: CrashStore.snapshotter).tryOut([.kill], every: 53)
    }

    @Test(
        "A step that fails is told in one message, and leaves nothing but what was there before",
        arguments: CrashReport.hasChoice ? scenarios : scenarios.filter(\.isTypical))
    func failed(scenario: CrashScenario) throws {
        try Laboratory(scenario, snapshotter: CrashStore.snapshotter)
            .tryOut([.noSpace, .io, .full], every: 1000)
    }

    @Test("There are images to try it with")
    func imagesCanBeMade() throws {
        _ = try CrashImages.shared.get()
        #expect(!Self.scenarios.isEmpty)
    }
}

/// What happens at a point.
enum Fault: String, Sendable {
    case kill
    case noSpace = "ENOSPC"
    case io = "EIO"
    case full
}

/// One scenario on copies of one store.
struct Laboratory {
    let scenario: CrashScenario
    let start: CrashStore
    let boot: OtherBoot?
    let points: [CrashStore.Point]
    let reference: Reference
    /// What the store says after the scenario and `prune`, undisturbed.
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

    /// The trees of both images' layers.
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

    /// Whether a run that met a failing disk must have cleaned up by itself. Not if it could not (the cleaning failed,
    /// or a full disk takes no row), and not the directory that a transaction made which was not committed: by then it
    /// may be another process's.
    fileprivate func isTidy(_ fault: Fault, at point: CrashStore.Point?, _ run: CrashStore.Run) -> Bool {
        guard fault == .noSpace || fault == .io, !scenario.isDone(run), isCleanAtStart, let point else {
            return false
        }
        return !point.isOfCleaning && !(point.step == "COMMIT" && point.subject.hasPrefix("make("))
    }

    /// Tries points, expects that nothing is wrong, and reports.
    func tryOut(_ faults: [Fault], every stride: Int) throws {
        for fault in faults { try tryOut(fault, at: sample(for: fault, every: stride)) }
    }

    private func sample(for fault: Fault, every stride: Int) -> [CrashStore.Point] {
        var sample = CrashReport.sample(points, every: stride)
        // Within a layer that is nobody's yet one step is like another: each kind is tried where most of them are.
        if !CrashReport.isComplete, !scenario.hasEveryKind { sample.removeAll(where: \.isOfContent) }
        switch fault {
        // Before a transaction begins all is as it was after the step before it.
        case .kill: return CrashReport.isComplete ? sample : sample.filter { $0.step != "BEGIN" }
        case .noSpace, .io:
            let candidates = sample.filter(\.canFail)
            if CrashReport.isComplete { return candidates }
            // Taken in turns: for the program one is as bad as the other.
            let isFirst = fault == .noSpace
            return candidates.enumerated().filter { ($0.offset % 2 == 0) == isFirst }.map(\.element)
        // A step that needs no room succeeds, and the next that does is another point.
        case .full: return CrashReport.isComplete ? sample : sample.filter(\.needsRoom)
        }
    }

    private func tryOut(_ fault: Fault, at sample: [CrashStore.Point]) throws {
        var lines = [String]()
        var failed = 0
        for point in sample {
            // Afterwards the same may be tried again, or something else may come first.
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

    /// One disturbed run, and all that is done and looked at afterwards.
    struct Trial {
        private(set) var violations = [String]()
        let line: String

        /// - Parameter again: whether the same is done again before `prune`, or afterwards.
        init(_ fault: Fault, at number: Int, again: Bool, in laboratory: Laboratory) throws {
            let scenario = laboratory.scenario
            let store = try laboratory.start.copy(boot: laboratory.boot)
            let run = try store.run(scenario.arguments, fault: "\(number):\(fault.rawValue)")
            var violations = [String]()
            func look(
                _ when: String, isQuiet: Bool = false, isMended: Bool = false
            ) throws -> StoreState {
                let state = try StoreState(of: store)
                let reference = isMended ? laboratory.reference.mended : laboratory.reference
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
            // What the program has said is so: it printed the line, or ended well.
            let isDone = scenario.isDone(run)
            if fault == .kill {
                if point != nil, !run.wasKilled { violations.append("not killed: \(run.command.report)") }
            } else if !isDone {
                violations += Self.complaints(about: run.command, scenario)
            }
            let crashed = try look("at once", isQuiet: laboratory.isTidy(fault, at: point, run))
            if CrashReport.isComplete { try act(["images"], [0]) }
            if again { try act(scenario.arguments, [0, scenario.statusWhenDone]) }
            let second = again ? try look("when it was done again", isMended: true) : crashed
            if scenario.keepsLayers {
                for row in crashed.rows.values where crashed.isTrusted(row) && second.rows[row.id] != row {
                    // Synced meanwhile, it is the same.
                    guard second.rows[row.id]?.chain != row.chain else { continue }
                    violations.append("\(row.name) was committed, and is gone")
                }
            }
            try act(["prune", "--wait"], [0])
            let pruned = try look("after prune", isQuiet: true, isMended: again || isDone)
            if !again {
                if isDone, pruned.summary() != laboratory.wanted {
                    violations.append("it was said to be done, and it is not")
                }
                try act(scenario.arguments, [0, scenario.statusWhenDone])
                try act(["prune", "--wait"], [0])
            }
            if let check = scenario.check { try act(check, [0]) }
            // Unless nothing was done since.
            let isSame = again && scenario.check == nil
            let end = isSame ? pruned : try look("in the end", isQuiet: true, isMended: true)
            if end.summary() != laboratory.wanted {
                violations.append(
                    "in the end: "
                        + difference(
                            end.summary().joined(separator: "\n"), laboratory.wanted.joined(separator: "\n")))
            }
            self.violations = violations
            let outcome = violations.isEmpty ? "right" : "WRONG: " + violations.joined(separator: "; ")
            line =
                "\(scenario), \(fault.rawValue) at \(number) \(point?.description ?? "(not come to)"), after "
                + "\(before?.description ?? "nothing"), \(again ? "again" : "prune") next: \(run.status), \(outcome)"
        }

        /// What is wrong with how a run ended that met a failing disk: one message, with what failed.
        private static func complaints(about command: Command, _ scenario: CrashScenario) -> [String] {
            var found = [String]()
            if !scenario.failures.contains(command.status) {
                found.append("status \(command.status): \(command.report)")
            }
            let lines = command.errorText.split(separator: "\n").filter { !$0.hasPrefix("hint: ") }
            let says = ["no space left", "input/output error", "database"].contains {
                lines.first?.contains($0) == true
            }
            // One that goes on says what it could not do, each on a line.
            if lines.count != 1 && !scenario.isOfDamage || !says {
                found.append("no clear message: \(command.errorText)")
            }
            return found
        }
    }
}
