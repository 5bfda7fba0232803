import Foundation
import Kernel
import SystemPackage
import TestSupport

/// A store for one experiment, and the program that runs on it.
final class CrashStore: Sendable {
    /// The program under test: the built one, or a mutant.
    static let program =
        ProcessInfo.processInfo.environment["UNPACK_CRASH_PROGRAM"] ?? Program.path.string

    /// The snapshotter under test.
    static let snapshotter =
        ProcessInfo.processInfo.environment["UNPACK_CRASH_SNAPSHOTTER"] ?? "overlayfs"

    let root: FilePath
    let snapshotter: String
    /// The boot ID that the program sees; nil for the machine's own.
    let boot: OtherBoot?
    /// The file system of the store, if it needs its own.
    let disk: LoopFileSystem?
    /// Settings of the store, as variables of the environment.
    private let settings: [String: String]
    /// The directory for the logs, and for the store if it has no disk.
    private let place: TemporaryDirectory

    convenience init(snapshotter: String, boot: OtherBoot? = nil) throws {
        if snapshotter == "btrfs" {
            let disk = try LoopFileSystem(type: "btrfs", megabytes: 256, options: ["-m", "single"])
            try self.init(on: disk, snapshotter: snapshotter, boot: boot)
        } else {
            try self.init(on: nil, snapshotter: snapshotter, boot: boot)
        }
    }

    /// - Parameter disk: the file system for the store; nil for a directory in memory.
    init(
        on disk: LoopFileSystem?, snapshotter: String, boot: OtherBoot? = nil,
        settings: [String: String] = [:]
    ) throws {
        self.settings = settings
        place = try TemporaryDirectory(in: "/dev/shm")
        root = (disk?.path ?? place.path).appending("s")
        self.disk = disk
        self.snapshotter = snapshotter
        self.boot = boot
    }

    /// A copy of the store.
    func copy(boot: OtherBoot? = nil) throws -> CrashStore {
        let boot = boot ?? self.boot
        // A copy of the whole disk, because cp(1) turns subvolumes into plain directories.
        if let disk {
            try Command.run("sync", "-f", disk.path.string).succeed()
            let copy = try LoopFileSystem(type: disk.type, cutFrom: disk.image)
            return try CrashStore(on: copy, snapshotter: snapshotter, boot: boot)
        }
        let copy = try CrashStore(snapshotter: snapshotter, boot: boot)
        if FileManager.default.fileExists(atPath: root.string) {
            try Command.run("cp", "-a", root.string, copy.root.string).succeed()
        }
        return copy
    }

    /// Whether such stores can be created and copied on this machine.
    static let isPossible: Bool = {
        guard TestEnvironment.canApplyLayers else { return false }
        return switch snapshotter {
        case "btrfs": TestEnvironment.canMountCopiesOfBtrfs
        case "loop": TestEnvironment.canMountExt4
        case "erofs": TestEnvironment.canMountErofs
        default: true
        }
    }()

    /// A finished run, and the points that it reached.
    struct Run {
        let command: Command
        let points: [Point]
        var status: Int32 { command.status }
        var wasKilled: Bool { status == 128 + SIGKILL }
    }

    /// A durable step at which a run can be disturbed, as logged by the program.
    struct Point {
        let number: Int
        let step: String
        let subject: String

        var description: String { subject.isEmpty ? step : "\(step) \(subject)" }
        var isTransaction: Bool { ["BEGIN", "COMMIT", "committed"].contains(step) }
        /// False after a committed transaction.
        var canFail: Bool { step != "committed" }
        var isSync: Bool { step.contains("sync") }
        /// Whether the step only changes files of a tree.
        var isOfContent: Bool {
            [
                "fchmod", "fchown", "fchownat", "futimens", "utimensat", "linkat", "symlinkat", "fsetxattr",
                "lsetxattr", "fremovexattr",
            ].contains(step)
        }
        /// Whether the step fails on a full disk, in the program's fault injection.
        var needsRoom: Bool {
            let modest = ["fchown", "fchownat", "fchmod", "chmod", "futimens", "utimensat", "fremovexattr"]
            return canFail && !isSync && !isOfCleaning && step != "BEGIN" && !modest.contains(step)
        }
        var isOfCleaning: Bool {
            ["unlinkat", "renameat2"].contains(step) || subject.contains("DESTROY")
        }
    }

    /// - Parameter fault: a value of `UNPACK_FAULT`.
    func run(_ arguments: [String], fault: String? = nil) throws -> Run {
        var environment = settings
        environment["UNPACK_ROOT"] = root.string
        environment["UNPACK_SNAPSHOTTER"] = snapshotter
        let log = place.path.appending("log-\(UInt64.random(in: .min ... .max))")
        if let fault {
            environment["UNPACK_FAULT"] = fault
            environment["UNPACK_FAULT_LOG"] = log.string
        }
        let command = try Command.run(
            (boot?.prefix ?? []) + [Self.program] + arguments, environment: environment)
        return Run(command: command, points: try Self.points(in: log))
    }

    private static func points(in log: FilePath) throws -> [Point] {
        guard let data = FileManager.default.contents(atPath: log.string) else { return [] }
        let points = String(decoding: data, as: UTF8.self).split(separator: "\n").compactMap { line in
            let parts = line.split(separator: " ", maxSplits: 2).map(String.init)
            return Int(parts[0]).map { number in
                Point(number: number, step: parts[1], subject: parts.count > 2 ? parts[2] : "")
            }
        }
        return points.sorted { $0.number < $1.number }
    }

    /// Changes a file of the lowest layer that the second layer has a hard link to, and deletes the directory of the
    /// second layer.
    func damage() throws {
        let folder = root.appending(snapshotter)
        func write(_ tree: String) -> String {
            "printf other | dd of=\(tree)/etc/large conv=notrunc status=none"
        }
        let change =
            switch snapshotter {
            case "btrfs":
                #"btrfs property set "$0" ro false; \#(write("$0")); btrfs property set "$0" ro true"#
            // The large file is most of the image.
            case "erofs":
                #"seek=$(($(stat -c %s "$0") / 2)); printf other | dd of="$0" bs=1 seek=$seek conv=notrunc status=none"#
            case "loop": #"m=$(mktemp -d); mount "$0" "$m"; \#(write("$m")); umount "$m"; rmdir "$m""#
            default: write("$0")
            }
        let trees = ["loop": "image", "erofs": "layer.erofs"]
        let tree = folder.appending("1").appending(trees[snapshotter] ?? "fs")
        try Command.run("sh", "-ec", change, tree.string).succeed()
        let missing = folder.appending("2")
        if snapshotter == "btrfs" {
            try Command.run("btrfs", "subvolume", "delete", missing.appending("fs").string).succeed()
        }
        try FileManager.default.removeItem(atPath: missing.string)
    }

    /// Queries a copy of the database, because opening the database itself would recover it.
    func rows(_ query: String) throws -> [[String]] {
        for name in ["metadata.db", "metadata.db-wal", "metadata.db-shm"] {
            let copy = place.path.appending(name).string
            try? FileManager.default.removeItem(atPath: copy)
            let path = root.appending(name).string
            guard !name.hasSuffix("shm"), FileManager.default.fileExists(atPath: path) else { continue }
            try FileManager.default.copyItem(atPath: path, toPath: copy)
        }
        let result = try Command.run("sqlite3", "-batch", place.path.appending("metadata.db").string, query)
        if result.errorText.contains("no such table") || result.errorText.contains("no such column") {
            return []
        }
        return try result.succeed().text.split(separator: "\n").map { line in
            line.split(separator: "|", omittingEmptySubsequences: false).map(String.init)
        }
    }

    func names(in folder: String) -> [String] {
        (try? FileManager.default.contentsOfDirectory(atPath: root.appending(folder).string)) ?? []
    }
}

/// A simulated reboot: the program runs in a mount namespace in which another file is mounted on `boot_id`.
final class OtherBoot: Sendable {
    let id = UUID().uuidString.lowercased()
    private let temporary: TemporaryDirectory

    init() throws {
        temporary = try TemporaryDirectory(in: "/dev/shm")
        try temporary.write("boot_id", Array((id + "\n").utf8))
    }

    /// The words before a command line.
    var prefix: [String] {
        [
            "unshare", "-m", "sh", "-ec", #"mount --bind "$0" \#(Self.file); exec "$@""#,
            temporary.path.appending("boot_id").string,
        ]
    }

    static let file = "/proc/sys/kernel/random/boot_id"

    /// Whether this works on this machine.
    static let isPossible: Bool = {
        guard let boot = try? OtherBoot() else { return false }
        return (try? Command.run(boot.prefix + ["cat", file]))?.text == boot.id + "\n"
    }()

    static let machines = (try? File.contents(of: FilePath(file))).map { bytes in
        String(decoding: bytes, as: UTF8.self).trimmingCharacters(in: .whitespacesAndNewlines)
    }
}
