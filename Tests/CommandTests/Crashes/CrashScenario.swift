import Foundation
import Glibc
import Kernel
import OCI
import SystemPackage
import TestSupport

/// Two small images that share layers, with every operation on lower layers.
final class CrashImages: Sendable {
    let first: FilePath
    let second: FilePath
    /// The chain ID of the first image.
    let top: String
    private let temporary: TemporaryDirectory

    static let shared = Result { try CrashImages() }

    private init() throws {
        temporary = try TemporaryDirectory(in: "/dev/shm")
        // A static value is never deinitialized.
        atexit {
            guard case .success(let images) = CrashImages.shared else { return }
            try? FileManager.default.removeItem(atPath: images.temporary.path.string)
        }
        let text = Bytes(String(repeating: "some content ", count: 700))
        let below = [
            LayerBuilder(
                .directory("etc").at(1, 5), .file("etc/passwd", "root").mode(0o600).owned(1, 2).at(7),
                .file("etc/large", text), .hardLink("etc/link", to: "etc/large"),
                .symlink("etc/symlink", to: "passwd"), .directory("var"), .file("var/gone", "x"),
                .directory("var/hidden"), .file("var/hidden/file", "x"), .fifo("var/fifo")),
            LayerBuilder(
                .file("var/.wh.gone"), .file("var/hidden/.wh..wh..opq"), .file("var/hidden/own", text),
                .hardLink("var/again", to: "etc/large"), .file("etc/passwd", "other").mode(0o4755)),
        ]
        let tops = ["first", "second"].map { name in
            LayerBuilder(
                .directory(Bytes(name), mode: 0o711).owned(5, 6).xattr("user.name", "value"),
                .file(Bytes("\(name)/file"), text).at(1_000_000_000, 7), .file("etc/.wh.link"))
        }
        var paths = [FilePath]()
        for (name, top) in zip(["i1", "i2"], tops) {
            let builder = try ImageBuilder(at: temporary.path.appending(name))
            try builder.writeIndex([try builder.image(below + [top]).named(name)])
            paths.append(builder.path)
        }
        (first, second) = (paths[0], paths[1])
        let layers = below + [tops[0]]
        let chain = layers.reduce(nil) { ChainID(of: $1.diffID, on: $0) } as ChainID?
        top = chain?.description ?? ""
    }
}

/// A command on a store that may be interrupted.
struct CrashScenario: Sendable, CustomStringConvertible {
    let description: String
    /// Commands that run before, each with a fault of its own or none.
    var before: [(arguments: [String], fault: String?)] = []
    /// Whether two layers are damaged before the command (`CrashStore.damage`).
    var isOfDamage = false
    let arguments: [String]
    /// The exit status without a fault.
    var success: Int32 = 0
    /// The allowed exit statuses on a failing disk.
    var failures: Set<Int32> = [74]
    /// A command that must exit with 0 at the end.
    var check: [String]?
    /// The exit status of the command if it had succeeded before.
    var statusWhenDone: Int32 = 0
    /// Whether the machine reboots before the command.
    var isAfterBoot = false
    /// Whether the scenario is part of a short run.
    var isTypical = false
    /// Whether each kind of step in a tree is tried in a short run.
    var hasEveryKind = false
    /// Whether the command keeps committed layers.
    var keepsLayers = true

    /// Whether the program has reported success: with its exit status, or with its output before it was killed.
    func isDone(_ run: CrashStore.Run) -> Bool {
        // The output of `verify` lists damage, and does not mean success.
        if isOfDamage { return run.status == 0 || run.status == success }
        return run.status == 0 || !run.command.text.isEmpty && run.wasKilled
    }

    static func all(_ images: CrashImages) -> [CrashScenario] {
        func unpack(_ image: FilePath, _ more: String...) -> [String] {
            [image.string, "-q", "--jobs", "1"] + more
        }
        let first = unpack(images.first)
        let second = unpack(images.second)
        let used: [(arguments: [String], fault: String?)] = [
            (first, nil), (["snapshot", "prepare", "mine", images.top], nil),
        ]
        return [
            CrashScenario(description: "unpack", arguments: first, isTypical: true, hasEveryKind: true),
            CrashScenario(description: "unpack --sync none", arguments: first + ["--sync", "none"]),
            CrashScenario(
                description: "unpack what shares layers", before: used, arguments: second),
            CrashScenario(
                description: "unpack --rw", before: used, arguments: first + ["--rw", "key"],
                isTypical: true),
            CrashScenario(
                description: "unpack after a crash", before: used + [(second, "40:kill")], arguments: second,
                isTypical: true),
            CrashScenario(
                description: "unpack after a boot",
                before: [
                    (first + ["--sync", "none"], nil),
                    (["snapshot", "prepare", "mine", images.top], nil),
                ], arguments: second, isAfterBoot: true, keepsLayers: false),
            CrashScenario(
                description: "snapshot prepare", before: used,
                arguments: ["snapshot", "prepare", "new", images.top, "--label", "a=b"], statusWhenDone: 64),
            CrashScenario(
                description: "snapshot view", before: used,
                arguments: ["snapshot", "view", "new", images.top], statusWhenDone: 64),
            CrashScenario(
                description: "snapshot commit", before: used,
                arguments: ["snapshot", "commit", "done", "mine", "--label", "a=b"], statusWhenDone: 66),
            CrashScenario(
                description: "snapshot rm", before: used, arguments: ["snapshot", "rm", "mine", "--wait"],
                statusWhenDone: 66, keepsLayers: false),
            CrashScenario(
                description: "rm", before: used + [(second, nil)], arguments: ["rm", "i2", "--wait"],
                statusWhenDone: 66,
                keepsLayers: false),
            CrashScenario(
                description: "prune",
                // Leaves synced layers without an image, and an unfinished run.
                before: used + [
                    (["rm", "i1"], nil), (["snapshot", "rm", "mine"], nil), (second, "45:kill"),
                ],
                arguments: ["prune", "--wait"], keepsLayers: false),
            CrashScenario(
                description: "verify --repair",
                // For full-copy backends only the topmost layer has a record before.
                before: used + [(["verify", "-q"], nil)], isOfDamage: true,
                arguments: ["verify", "-q", "--repair", images.first.string], success: 1,
                // Bits of fsck(8): 1 repaired, 4 damage remains, 8 operational error.
                failures: [4, 5, 8, 9, 12, 13], check: ["verify", "-q"], statusWhenDone: 1, isTypical: true),
        ]
    }
}
