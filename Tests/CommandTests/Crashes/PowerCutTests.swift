import Foundation
import SystemPackage
import TestSupport
import Testing

/// Power cuts: only the content of the disk is left, and the machine reboots.
///
/// The store is on ext4 in a file. The program is killed at a point, and the file is copied at once. What the kernel
/// has not written yet is not in the copy, in particular the content of new files, for which ext4 has not allocated
/// blocks. A mount of the copy replays its journal as after a power cut, and the program sees another boot ID.
///
/// In a second variant the power is cut a moment later: the journal is written, as it is every five seconds, and with
/// it all names, directories and removals. The content of files is still not written; the database is such a file.
///
/// A store of btrfs is on btrfs, where a transaction takes the place of the journal, and fsync writes to the log tree.
@Suite(
    .enabled(
        if: CrashStore.isPossible && TestEnvironment.canMountExt4 && OtherBoot.isPossible,
        "needs root, loop devices, ext4 and mount namespaces"))
struct PowerCutTests {
    private static let scenarios = CrashTests.scenarios.filter {
        !$0.isAfterBoot && ($0.isTypical || !$0.keepsLayers || CrashReport.hasChoice)
    }

    @Test(
        "After a power cut everything that is recorded as durable is complete, and the rest is made again",
        arguments: scenarios)
    func cut(scenario: CrashScenario) throws {
        let runner = try ScenarioRunner(scenario, snapshotter: CrashStore.snapshotter)
        var sample = CrashReport.sample(runner.points, every: 1000)
        if !CrashReport.isComplete {
            // Only points at which something becomes durable matter, and, for removals, steps of the deletion. At the
            // beginning of a transaction nothing new is on the disk.
            sample = sample.filter { $0.isTransaction && $0.step != "BEGIN" || $0.isSync }
            if !scenario.keepsLayers {
                sample += runner.points.filter { $0.isOfCleaning && $0.number % 6 == 0 }
            }
        }
        var lines = [String]()
        var failed = 0
        let base = try runner.disk()
        for fault in sample.map({ "\($0.number):kill" }) + ["list"] {
            for hasJournal in CrashReport.isComplete || fault == "list" ? [false, true] : [true] {
                let cut = try PowerCut(fault, hasJournal: hasJournal, of: base, in: runner)
                lines.append(cut.line)
                if !cut.violations.isEmpty { failed += 1 }
                #expect(cut.violations.isEmpty, "\(cut.line)")
            }
        }
        CrashReport.add(
            lines + [
                "# \(scenario), power cut: \(runner.points.count) points, \(lines.count) tried, \(failed) wrong"
            ])
    }

    @Test(
        "Without syncfs a power cut does damage, so this test can detect it",
        // The loop image is flushed to its file at the commit of its layer, and the file is synced.
        .disabled(if: CrashStore.snapshotter == "loop", "a loop image is on the disk before syncfs"))
    func withoutSync() throws {
        let scenario = try #require(CrashTests.scenarios.first)
        let runner = try ScenarioRunner(scenario, snapshotter: CrashStore.snapshotter)
        let cut = try PowerCut("skip:syncfs", hasJournal: true, of: try runner.disk(), in: runner)
        #expect(!cut.violations.isEmpty)
        CrashReport.add([
            "# \(scenario), power cut without syncfs: \(cut.violations.count) violations, as it must be"
        ])
    }

    @Test("Layers that were not synced are not trusted after a power cut, and the store works")
    func unsynced() throws {
        let scenario = try #require(CrashTests.scenarios.first { $0.arguments.contains("none") })
        let runner = try ScenarioRunner(scenario, snapshotter: CrashStore.snapshotter)
        let cut = try PowerCut("list", hasJournal: true, of: try runner.disk(), in: runner)
        #expect(cut.violations.isEmpty, "\(cut.line)")
        #expect(!cut.found.rows.values.contains { cut.found.isTrusted($0) })
    }
}

extension ScenarioRunner {
    /// The scenario's initial store on a disk of its own, synced.
    func disk() throws -> LoopFileSystem {
        if let disk = start.disk {
            try Command.run("sync", "-f", disk.path.string).succeed()
            return disk
        }
        // Images of file systems need more space than layers.
        let disk = try LoopFileSystem(type: "ext4", megabytes: start.snapshotter == "loop" ? 512 : 64)
        let root = try CrashStore(on: disk, snapshotter: start.snapshotter).root
        if FileManager.default.fileExists(atPath: start.root.string) {
            try Command.run("cp", "-a", start.root.string, root.string).succeed()
        }
        try Command.run("sync", "-f", disk.path.string).succeed()
        return disk
    }
}

private struct PowerCut {
    private(set) var violations: [String]
    /// The store after the reboot.
    let found: StoreState
    let line: String

    /// - Parameters:
    ///   - fault: the fault of the scenario's run before the power cut.
    ///   - hasJournal: whether the journal is written before the power cut.
    init(
        _ fault: String, hasJournal: Bool, of base: LoopFileSystem, in runner: ScenarioRunner
    ) throws {
        let scenario = runner.scenario
        let before = try LoopFileSystem(type: base.type, cutFrom: base.image)
        let run = try CrashStore(on: before, snapshotter: runner.start.snapshotter)
            .run(scenario.arguments, fault: fault)
        if hasJournal, base.type == "btrfs" {
            // Commits the transaction without writing the content of files.
            try Command.run("btrfs", "subvolume", "create", before.path.appending("other").string).succeed()
        } else if hasJournal {
            // ext4 has one journal: fsync of one file makes all names durable.
            try Command.run("dd", "if=/dev/zero", "of=\(before.path)/other", "count=1", "conv=fsync")
                .succeed()
        }
        let disk = try LoopFileSystem(type: base.type, cutFrom: before.image)
        let boot = try OtherBoot()
        let store = try CrashStore(on: disk, snapshotter: runner.start.snapshotter, boot: boot)

        var violations = [String]()
        func inspect(_ when: String, isQuiet: Bool = false) throws -> StoreState {
            let state = try StoreState(of: store)
            let reference = isQuiet ? runner.reference.mended : runner.reference
            violations += state.violations(reference).map { "\(when): \($0)" }
            if isQuiet { violations += state.leftovers(reference).map { "\(when): \($0)" } }
            return state
        }
        func act(_ arguments: [String], _ allowed: Set<Int32>) throws {
            let next = try store.run(arguments)
            if !allowed.contains(next.status) { violations.append(next.command.report) }
        }

        found = try inspect("after the boot")
        let isSynced = !scenario.arguments.contains("none")
        if isSynced {
            for (manifest, top) in found.tops where found.rows[top]?.boot != nil {
                violations.append("image \(manifest) was recorded before its chain was on the disk")
            }
        }
        let isDone = scenario.isDone(run)
        if FileManager.default.fileExists(atPath: store.root.string) { try act(["images"], [0]) }
        if isDone, isSynced {
            try act(["prune", "--wait"], [0])
            if try inspect("when it was said to be done", isQuiet: true).summary() != runner.wanted {
                violations.append("it was said to be done, and it is not")
            }
        }
        try act(scenario.arguments, [0, scenario.statusWhenDone])
        try act(["prune", "--wait"], [0])
        if let check = scenario.check { try act(check, [0]) }
        let end = try inspect("in the end", isQuiet: true)
        if end.summary() != runner.wanted {
            violations.append(
                "in the end: "
                    + difference(
                        end.summary().joined(separator: "\n"), runner.wanted.joined(separator: "\n")))
        }
        self.violations = violations
        let point = run.points.last?.description ?? "nothing"
        let previous = run.points.dropLast().last?.description ?? "nothing"
        let outcome = violations.isEmpty ? "right" : "WRONG: " + violations.joined(separator: "; ")
        line =
            "\(scenario), power cut \(hasJournal ? "after the journal" : "at once") with \(fault) at \(point), after \(previous): \(run.status), \(outcome)"
    }
}
