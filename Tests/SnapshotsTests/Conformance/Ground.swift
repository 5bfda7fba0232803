import Kernel
import Mounts
import OCI
import Snapshots
import Synchronization
import SystemPackage
import TestSupport
import Testing

/// A snapshotter that can work on this machine, on a file system that exists or can be made.
struct Site: Sendable, CustomTestStringConvertible {
    let snapshotter: String
    var testDescription: String { snapshotter }
    /// Whether overlay merges the layers: it does not rename directories of lower layers.
    var usesOverlay: Bool { ["overlayfs", "erofs"].contains(snapshotter) }

    static let all = TestEnvironment.chosen(SnapshotStore.supported).compactMap { try? attempts[$0]?.get() }

    /// The reason why a snapshotter cannot work here; nil if it can.
    static func restriction(_ snapshotter: String) -> String? {
        guard case .failure(let error)? = attempts[snapshotter] else { return nil }
        return "\(error)"
    }

    private static let attempts = Dictionary(
        uniqueKeysWithValues: SnapshotStore.supported.map { name in (name, Result { try Site(name) }) })

    private init(_ snapshotter: String) throws {
        self.snapshotter = snapshotter
        let place = try makePlace()
        defer { withExtendedLifetime(place) {} }
        _ = try SnapshotStore(
            opening: place.root, snapshotter: snapshotter, boot: "boot",
            settings: place.settings, clock: { 0 }
        ).whiteoutForm()
    }

    private struct NoPlace: Error, CustomStringConvertible {
        let description = "needs root and a file system for layers"
    }

    /// Makes a directory for a store, and what else the store needs.
    func makePlace() throws -> Place {
        if snapshotter == "btrfs" {
            let fileSystem = try LoopFileSystem(type: "btrfs", megabytes: 300)
            return Place(root: fileSystem.path.appending("s"), held: [fileSystem])
        }
        if snapshotter == "zfs" {
            let pool = try ZfsPoolOnFile(megabytes: 512)
            return Place(root: pool.path, held: [pool])
        }
        guard let scratch = TestEnvironment.scratch else { throw NoPlace() }
        let temporary = try TemporaryDirectory(in: scratch)
        let root = temporary.path.appending("s")
        guard snapshotter == "devmapper" else { return Place(root: root, held: [temporary]) }
        let pool = try ThinPoolOnFiles(megabytes: 512)
        return Place(
            root: root, settings: BackendSettings(pool: pool.name, size: 64 << 20),
            held: [temporary, pool])
    }
}

/// The directory for a store.
struct Place {
    let root: FilePath
    var settings = BackendSettings()
    /// What is removed with this value.
    let held: [any Sendable]
}

/// A store for one test, and the calls that every test makes.
final class Ground {
    let site: Site
    let store: SnapshotStore
    let run: Run
    private let place: Place
    private let targets: TemporaryDirectory
    private let ticks = Ticks()

    init(_ site: Site) throws {
        Process.setUp()
        self.site = site
        place = try site.makePlace()
        targets = try TemporaryDirectory()
        store = try SnapshotStore(
            opening: place.root, snapshotter: site.snapshotter, boot: "boot",
            settings: place.settings, clock: { [ticks] in ticks.next() })
        run = try store.startRun()
    }

    /// Called by every test at its end, so that the directory of the store exists as long as the test.
    func end() { withExtendedLifetime(place) {} }

    /// Mounts the mounts, and calls `body` with the mount point.
    func mounted<Value>(_ mounts: [Mount], _ body: (Directory) throws -> Value) throws -> Value {
        #expect(!mounts.isEmpty)
        let target = try targets.makeDirectory("m-\(UInt32.random(in: .min ... .max))")
        try MountPerformer.perform(
            mounts, form: .ofThisKernel, folder: store.root.appending(site.snapshotter), on: target)
        defer { try? unmountWhenFree(target) }
        return try body(try Directory(opening: target))
    }

    /// Prepares, changes and commits a snapshot.
    func make(_ name: String, on parent: String? = nil, _ change: (Directory) throws -> Void = { _ in })
        throws
    {
        let key = "\(name)-active"
        let mounts = try store.prepare(key, parent: parent, in: run)
        #expect(try store.mounts(of: key) == mounts)
        try mounted(mounts, change)
        try store.commit(key, as: name, labels: ["containerd.io/gc.root": "now"], isSynced: false)
    }

    /// Makes and mounts a view of a snapshot, and calls `body` with its root.
    func shows<Value>(_ name: String, _ body: (Directory) throws -> Value) throws -> Value {
        let key = "view-\(UInt32.random(in: .min ... .max))"
        let mounts = try store.view(key, parent: name, in: run)
        #expect(try store.mounts(of: key) == mounts)
        #expect(mounts.allSatisfy { $0.isReadOnly })
        defer { try? store.remove(key) }
        return try mounted(mounts, body)
    }

    func tree(_ name: String) throws -> [String] { try shows(name) { try Self.lines($0) } }

    /// A dump of a tree without times, which differ between two trees.
    static func lines(_ directory: Directory) throws -> [String] {
        try TreeDump(of: directory).lines.map { line in
            var fields = line.split(separator: " ")
            // Path, type, mode, owner, time.
            fields.remove(at: 4)
            return fields.joined(separator: " ")
        }
    }
}

/// A clock that advances with each call.
private final class Ticks: Sendable {
    private let state = Mutex(Int64(1_700_000_000_000_000_000))
    func next() -> Int64 {
        state.withLock {
            $0 += 1_000
            return $0
        }
    }
}

/// The kind of failure that `body` ends with; nil if it succeeds.
func kind(_ body: () throws -> Void) -> StoreFailure.Kind? {
    do {
        try body()
        return nil
    } catch {
        return (error as? StoreFailure)?.kind
    }
}
