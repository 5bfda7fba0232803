import Foundation
import SystemPackage
import TestSupport
import Testing

/// Cuts the power: what is left is what the disk has, and the machine starts again.
///
/// The store lies on ext4 in a file. The program is killed at a point, and at once the file is copied: what the kernel
/// had not written yet is not in the copy, least of all the content of new files, for which ext4 has not even chosen
/// blocks. Mounted, the copy replays its journal like any disk after a power cut, and the program sees another boot.
///
/// Or a moment later: the journal has been written, as it is every five seconds, and with it all names and directories;
/// what was removed is gone, too. The content of files still is not, and the database is one of them.
///
/// A store of btrfs lies on btrfs: there a transaction takes the journal's place, and its log what a file is synced to.
@Suite(
    .enabled(
        if: CrashStore.isPossible && Ability.canMountExt4 && OtherBoot.isPossible,
        "needs root, loop devices, ext4 and mount namespaces"))
struct PowerCutTests {
    private static let scenarios = CrashTests.scenarios.filter {
        !$0.isAfterBoot && ($0.isTypical || !$0.keepsLayers || CrashReport.hasChoice)
    }

    @Test(
        "After a power cut all that is taken for there is whole, and the rest is made again",
        arguments: scenarios)
    func cut(scenario: CrashScenario) throws {
        let laboratory = try Laboratory(scenario, snapshotter: CrashStore.snapshotter)
        var sample = CrashReport.sample(laboratory.points, every: 1000)
        if !CrashReport.isComplete {
            // What counts is what was said and done by then; of removing, how far it came. Where a transaction begins nothing
            // is on the disk that is not before its end.
            sample = sample.filter { $0.isTransaction && $0.step != "BEGIN" || $0.isSync }
            if !scenario.keepsLayers {
                sample += laboratory.points.filter { $0.isOfCleaning && $0.number % 6 == 0 }
            }
        }
        var lines = [String]()
        var failed = 0
        let base = try laboratory.disk()
        for fault in sample.map({ "\($0.number):kill" }) + ["list"] {
            for hasJournal in CrashReport.isComplete || fault == "list" ? [false, true] : [true] {
                let cut = try PowerCut(fault, hasJournal: hasJournal, of: base, in: laboratory)
                lines.append(cut.line)
                if !cut.violations.isEmpty { failed += 1 }
                #expect(cut.violations.isEmpty, "\(cut.line)")
            }
        }
        CrashReport.add(
            lines + [
                "# \(scenario), power cut: \(laboratory.points.count) points, \(lines.count) tried, \(failed) wrong"
            ])
    }

    @Test(
        "Without syncfs a power cut shows: this test can see what it looks for",
        // It is flushed to its file when its layer is committed, and the file is synced with it.
        .disabled(if: CrashStore.snapshotter == "loop", "a loop image is on the disk before syncfs"))
    func withoutSync() throws {
        let scenario = try #require(CrashTests.scenarios.first)
        let laboratory = try Laboratory(scenario, snapshotter: CrashStore.snapshotter)
        let cut = try PowerCut("skip:syncfs", hasJournal: true, of: try laboratory.disk(), in: laboratory)
        #expect(!cut.violations.isEmpty)
        CrashReport.add([
            "# \(scenario), power cut without syncfs: \(cut.violations.count) violations, as it must be"
        ])
    }

    @Test("What was not synced is not trusted after a power cut, and the store works")
    func unsynced() throws {
        let scenario = try #require(CrashTests.scenarios.first { $0.arguments.contains("none") })
        let laboratory = try Laboratory(scenario, snapshotter: CrashStore.snapshotter)
        let cut = try PowerCut("list", hasJournal: true, of: try laboratory.disk(), in: laboratory)
        #expect(cut.violations.isEmpty, "\(cut.line)")
        #expect(!cut.found.rows.values.contains { cut.found.isTrusted($0) })
    }
}

extension Laboratory {
    /// The scenario's start on a disk of its own, written.
    func disk() throws -> LoopFileSystem {
        if let disk = start.disk {
            try Command.run("sync", "-f", disk.path.string).succeed()
            return disk
        }
        // Image files of whole file systems need more room than layers.
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
    /// As it was when the machine had started again.
    let found: StoreState
    let line: String

    /// - Parameters:
    ///   - fault: with what the scenario runs before the power is cut.
    ///   - hasJournal: whether the journal is written in between.
    init(
        _ fault: String, hasJournal: Bool, of base: LoopFileSystem, in laboratory: Laboratory
    ) throws {
        let scenario = laboratory.scenario
        let before = try LoopFileSystem(type: base.type, cutFrom: base.image)
        let run = try CrashStore(on: before, snapshotter: laboratory.start.snapshotter)
            .run(scenario.arguments, fault: fault)
        if hasJournal, base.type == "btrfs" {
            // Commits the transaction, and does not write the content of files for that.
            try Command.run("btrfs", "subvolume", "create", before.path.appending("other").string).succeed()
        } else if hasJournal {
            // ext4 has one journal: what makes one file durable takes every name along.
            try Command.run("dd", "if=/dev/zero", "of=\(before.path)/other", "count=1", "conv=fsync")
                .succeed()
        }
        let disk = try LoopFileSystem(type: base.type, cutFrom: before.image)
        let boot = try OtherBoot()
        let store = try CrashStore(on: disk, snapshotter: laboratory.start.snapshotter, boot: boot)

        var violations = [String]()
        func look(_ when: String, isQuiet: Bool = false) throws -> StoreState {
            let state = try StoreState(of: store)
            let reference = isQuiet ? laboratory.reference.mended : laboratory.reference
            violations += state.violations(reference).map { "\(when): \($0)" }
            if isQuiet { violations += state.leftovers(reference).map { "\(when): \($0)" } }
            return state
        }
        func act(_ arguments: [String], _ allowed: Set<Int32>) throws {
            let next = try store.run(arguments)
            if !allowed.contains(next.status) { violations.append(next.command.report) }
        }

        found = try look("after the boot")
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
            if try look("when it was said to be done", isQuiet: true).summary() != laboratory.wanted {
                violations.append("it was said to be done, and it is not")
            }
        }
        try act(scenario.arguments, [0, scenario.statusWhenDone])
        try act(["prune", "--wait"], [0])
        if let check = scenario.check { try act(check, [0]) }
        let end = try look("in the end", isQuiet: true)
        if end.summary() != laboratory.wanted {
            violations.append(
                "in the end: "
                    + difference(
                        end.summary().joined(separator: "\n"), laboratory.wanted.joined(separator: "\n")))
        }
        self.violations = violations
        let point = run.points.last?.description ?? "nothing"
        let previous = run.points.dropLast().last?.description ?? "nothing"
        let outcome = violations.isEmpty ? "right" : "WRONG: " + violations.joined(separator: "; ")
        line =
            "\(scenario), power cut \(hasJournal ? "after the journal" : "at once") with \(fault) at \(point), after \(previous): \(run.status), \(outcome)"
    }
}
