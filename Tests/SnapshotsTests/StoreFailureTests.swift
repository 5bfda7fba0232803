import Kernel
import Snapshots
import SystemPackage
import TestSupport
import Testing

/// Failures that no failed system call has caused have kinds of their own.
@Suite(
    "Kinds of failures of a store",
    .enabled(if: TestEnvironment.canApplyLayers, "needs root and a place for layers"))
struct StoreFailureTests {
    private let scratch: TemporaryDirectory

    init() throws {
        Process.setUp()
        scratch = try TemporaryDirectory(in: try #require(TestEnvironment.scratch))
    }

    private func open() throws -> SnapshotStore {
        try SnapshotStore(
            opening: scratch.path.appending("store"), snapshotter: "overlayfs", boot: "first", clock: { 42 })
    }

    @Test("A snapshot that is not wanted any more is cancelled, and nothing of it stays")
    func cancelled() throws {
        let store = try open()
        let run = try store.startRun()
        #expect(kind { try store.prepare("key", in: run, shouldContinue: { false }) } == .cancelled)
        #expect(try store.find("key") == nil)
        #expect(try Directory(opening: scratch.path.appending("store/overlayfs")).names().isEmpty)
    }

    @Test("A store of another user is not permitted")
    func foreign() throws {
        try open().close()
        try Command.run("chown", "1", scratch.path.appending("store").string).succeed()
        #expect(kind { _ = try open() } == .notPermitted)
    }

    @Test("A database that cannot grow is out of space")
    func full() throws {
        let root = try scratch.makeDirectory("store")
        try Command.run("mount", "-t", "tmpfs", "-o", "size=1m,mode=0700", "unpack", root.string).succeed()
        defer { try? unmountWhenFree(root) }
        let store = try open()
        try store.prepare("key", in: try store.startRun())
        _ = try Command.run("dd", "if=/dev/zero", "of=\(root)/filler", "bs=4k")
        var failure: StoreFailure?
        for round in 0..<1000 where failure == nil {
            do {
                let labels = ["k": String(repeating: "v", count: 4000) + "\(round)"]
                try store.update("key", labels: labels)
            } catch {
                failure = error
            }
        }
        #expect(failure?.kind == .outOfSpace)
        #expect(failure?.hint?.hasPrefix("free some space") == true)
        try store.close()
    }
}
