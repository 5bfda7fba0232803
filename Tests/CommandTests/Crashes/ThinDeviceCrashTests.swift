import Kernel
import SystemPackage
import TestSupport
import Testing

/// Kills the program at its durable steps in a thin pool, and compares the devices of the pool with the snapshots of the
/// store. A pool cannot be copied like a directory: each trial makes its own.
@Suite("Crashes with thin devices", .enabled(if: TestEnvironment.canMakeThinPools, "needs thin pools"))
struct ThinDeviceCrashTests {
    struct Scenario: Sendable, CustomTestStringConvertible {
        let testDescription: String
        /// Commands that run before.
        var before: [[String]] = []
        let arguments: [String]
        /// The exit status of the command if it had succeeded before.
        var statusWhenDone: Int32 = 0
    }

    static let scenarios: [Scenario] = {
        guard let images = try? CrashImages.shared.get() else { return [] }
        let unpack = [images.first.string, "-q", "--jobs", "1"]
        let prepare = ["snapshot", "prepare", "mine", images.top]
        return [
            Scenario(testDescription: "unpack", arguments: unpack),
            Scenario(testDescription: "unpack --rw", before: [unpack], arguments: unpack + ["--rw", "key"]),
            Scenario(
                testDescription: "snapshot commit", before: [unpack, prepare],
                arguments: ["snapshot", "commit", "done", "mine"], statusWhenDone: 66),
            Scenario(
                testDescription: "rm", before: [unpack], arguments: ["rm", "i1", "--wait"],
                statusWhenDone: 66),
        ]
    }()

    @Test(
        "After kill -9 before any step no device is without a snapshot, and no snapshot without a device",
        arguments: scenarios)
    func killed(scenario: Scenario) throws {
        let undisturbed = try Trial(scenario, fault: "list")
        try undisturbed.run.command.succeed()
        let points = undisturbed.run.points
        let kinds = points.map(\.subject).filter { $0.contains("DM_") }
        #expect(!kinds.isEmpty, "\(points.map(\.description))")
        for point in CrashReport.sample(points, every: 40) where point.step != "BEGIN" {
            let trial = try Trial(scenario, fault: "\(point.number):kill")
            let place = "\(scenario.testDescription), killed before \(point.number) \(point.description)"
            #expect(trial.run.wasKilled, "\(place): \(trial.run.command.report)")
            try trial.prune()
            #expect(try trial.devices() == trial.snapshots(), "\(place), after prune")
            let again = try trial.store.run(scenario.arguments)
            #expect(
                again.status == 0 || again.status == scenario.statusWhenDone,
                "\(place): \(again.command.report)")
            try trial.store.run(["verify", "-q"]).command.succeed()
            try trial.prune()
            #expect(try trial.devices() == trial.snapshots(), "\(place), in the end")
            #expect(try trial.snapshots().count == undisturbed.snapshots().count, "\(place)")
        }
    }

    /// A store on a pool of its own, in which a command was disturbed.
    private final class Trial {
        private let pool: ThinPoolOnFiles
        let store: CrashStore
        let run: CrashStore.Run

        init(_ scenario: Scenario, fault: String) throws {
            pool = try ThinPoolOnFiles(megabytes: 256)
            store = try CrashStore(
                on: nil, snapshotter: "devmapper",
                settings: ["UNPACK_POOL": pool.name, "UNPACK_SIZE": "64MiB"])
            for arguments in scenario.before { try store.run(arguments).command.succeed() }
            run = try store.run(scenario.arguments, fault: fault)
        }

        func prune() throws { try store.run(["prune", "--wait"]).command.succeed() }

        func snapshots() throws -> Set<Int> {
            Set(try store.rows("SELECT id FROM snapshot").compactMap { $0.first.flatMap(Int.init) })
        }

        /// The numbers of the thin devices without that of the empty file system: the kernel refuses to make a device
        /// that exists.
        func devices() throws -> Set<Int> {
            let mapper = try DeviceMapper()
            var found = Set<Int>()
            for number in 1...30 {
                do throws(SyscallFailure) {
                    try mapper.send("create_thin \(number)", to: pool.name)
                    try mapper.send("delete \(number)", to: pool.name)
                } catch {
                    guard error.isExistingFile else { throw error }
                    found.insert(number)
                }
            }
            return found
        }
    }
}
