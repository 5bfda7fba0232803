import Foundation
import Glibc
import Kernel
import SystemPackage
import TestSupport
import Testing

@Suite("Background deletion", .enabled(if: TestEnvironment.canMountOverlay, "needs root and overlay mounts"))
struct BackgroundDeletionTests {
    private let program: Program
    private let image: FilePath

    /// An image with a small layer, whose tree in the store is then made large.
    init() throws {
        program = try Program()
        image = program.scratch.path.appending("i")
        let builder = try ImageBuilder(at: image)
        try builder.writeIndex([try builder.image([LayerBuilder(.file("a", "1"))]).named("one")])
    }

    private func unpackLarge() throws {
        let path = try program.run(image.string, "-q", "--format", "path").succeed().text
        try FilePath(path.trimmingCharacters(in: .newlines)).fill()
    }

    private var trash: [String] {
        get throws {
            try Directory(opening: program.folder).names().map(\.description).filter {
                $0.hasPrefix(".removed-")
            }
        }
    }

    private func waitUntilTrashIsEmpty() throws {
        for _ in 1...600 where try !trash.isEmpty { Process.sleep(milliseconds: 50) }
        #expect(try trash == [])
    }

    /// Runs a removal, and stops its background process with SIGSTOP. If the process has ended before, it tries again.
    private func stoppedCollector(
        after body: () throws -> Command
    ) throws -> (run: Command, collector: pid_t) {
        for _ in 1...20 {
            let run = try body().succeed()
            for _ in 1...1000 where try !trash.isEmpty {
                guard let collector = try collector(), kill(collector, SIGSTOP) == 0 else {
                    Process.sleep(milliseconds: 1)
                    continue
                }
                if try !trash.isEmpty { return (run, collector) }
                kill(collector, SIGCONT)
            }
        }
        return try #require(nil, "no background process was stopped")
    }

    private func collector() throws -> pid_t? {
        try FileManager.default.contentsOfDirectory(atPath: "/proc").compactMap { pid_t($0) }.first { pid in
            let words = (try? String(contentsOfFile: "/proc/\(pid)/cmdline", encoding: .utf8)) ?? ""
            return words.contains("\0sweep-store\0") && words.contains(program.root.string + "\0")
        }
    }

    @Test(
        "rm, prune and snapshot rm return before the trees are deleted, and a background process deletes them",
        arguments: [["rm", "one"], ["prune"], ["snapshot", "rm", "mine"]])
    func background(command: [String]) throws {
        let log = program.scratch.path.appending("faults").string
        let (run, collector) = try stoppedCollector {
            switch command[0] {
            case "rm": try unpackLarge()
            case "prune":
                _ = try program.run(image.string, "-q").succeed()
                try program.folder.appending(".removed-1").fill()
            default:
                let mount = try program.run("snapshot", "prepare", "mine", "--json").succeed().text
                let path = try #require(mount.split(separator: "\"").first { $0.hasSuffix("/fs") })
                try FilePath(String(path)).fill()
            }
            return try Command.run(
                // Two descriptors that the process inherits.
                ["sh", "-c", #"exec "$@" 7>/dev/zero 8</dev/zero"#, "sh", Program.path.string] + command,
                environment: [
                    "UNPACK_ROOT": program.root.string, "UNPACK_FAULT": "list", "UNPACK_FAULT_LOG": log,
                ])
        }
        defer { kill(collector, SIGCONT) }
        #expect(try trash.count == 1)
        switch command[0] {
        case "rm": #expect(run.text == "one: 1 layer removed, 4.1 kB being freed\n")
        case "prune": #expect(run.text.hasSuffix(" being freed\n"), "\(run.text)")
        default: #expect(run.text == "")
        }
        // The process has a session of its own, and no descriptors or variables of its parent.
        #expect(getsid(collector) == collector)
        #expect(try FileManager.default.destinationOfSymbolicLink(atPath: "/proc/\(collector)/cwd") == "/")
        for stream in 0...2 {
            let target = try FileManager.default.destinationOfSymbolicLink(
                atPath: "/proc/\(collector)/fd/\(stream)")
            #expect(target == "/dev/null")
        }
        let open = try FileManager.default.contentsOfDirectory(atPath: "/proc/\(collector)/fd").compactMap {
            try? FileManager.default.destinationOfSymbolicLink(atPath: "/proc/\(collector)/fd/\($0)")
        }
        #expect(!open.contains("/dev/zero"), "\(open)")
        let environment = FileManager.default.contents(atPath: "/proc/\(collector)/environ") ?? Data()
        #expect(!environment.isEmpty)
        #expect(!String(decoding: environment, as: UTF8.self).contains("UNPACK_FAULT"))
        kill(collector, SIGCONT)
        try waitUntilTrashIsEmpty()
    }

    @Test("With --wait everything is deleted when they return", arguments: [["rm", "one"], ["prune"]])
    func waiting(command: [String]) throws {
        try unpackLarge()
        try program.folder.appending(".removed-1").fill()
        let said = try program.run(command + ["--wait"]).succeed().text
        #expect(try trash == [])
        #expect(!said.contains("being freed"))
        _ = try program.run("snapshot", "prepare", "mine").succeed()
        try program.folder.appending("2/fs").fill()
        _ = try program.run("snapshot", "rm", "mine", "--wait").succeed()
        #expect(try trash == [])
    }

    @Test("Deep and wide trees need few file descriptors")
    func descriptors() throws {
        _ = try program.run(image.string, "-q").succeed()
        for tree in 1...4 {
            var inner = try Directory.makingPath(program.folder.appending(".removed-\(tree)"), mode: 0o700)
            for _ in 0..<2000 {
                try inner.makeDirectory(FileName(literal: "beside"), mode: 0o700)
                inner = try inner.ensureDirectory("d")
            }
        }
        let script = #"ulimit -n 400 && exec "$0" prune --wait"#
        try Command.run(
            "sh", "-ec", script, Program.path.string, environment: ["UNPACK_ROOT": program.root.string]
        ).succeed()
        #expect(try trash == [])
    }

    @Test("A small tree is deleted at once, without a background process")
    func small() throws {
        _ = try program.run(image.string, "-q").succeed()
        #expect(try program.run("rm", "one").succeed().text == "one: 1 layer removed, 4.1 kB\n")
        #expect(try trash == [])
    }

    @Test(
        "The next run or prune finishes the work of a killed background process",
        arguments: [["prune"], ["IMAGE"]])
    func killed(next: [String]) throws {
        let (_, collector) = try stoppedCollector {
            try unpackLarge()
            return try program.run("rm", "one")
        }
        #expect(try program.run("prune", "--dry-run").succeed().text.contains("being deleted"))
        kill(collector, SIGKILL)
        #expect(try trash.count == 1)
        _ = try program.run(next == ["IMAGE"] ? [image.string] : ["prune", "--wait"]).succeed()
        #expect(try trash == [])
    }

    @Test("Several processes can delete at the same time")
    func many() throws {
        _ = try program.run(image.string, "-q").succeed()
        for round in 1...3 {
            for tree in 1...8 { try program.folder.appending(".removed-\(round)-\(tree)").fill(2000) }
            let all = try ["sweep-store", "sweep-store", "prune", "prune"].map {
                try program.start([$0] + ($0 == "prune" ? ["--wait"] : []))
            }
            for command in try RunningCommand.finish(all) {
                #expect(command.status == 0, "\(command.report)")
            }
            try waitUntilTrashIsEmpty()
        }
        try program.expectNothingLeftOver()
    }

    @Test("An unpack leaves a tree to the process that is deleting it, and prune lists the tree")
    func leaves() throws {
        _ = try program.run("snapshot", "prepare", "mine").succeed()
        try program.folder.appending(".removed-1").fill(10)
        do {
            let lock = try File.open(program.root.appending("locks/schema"), .readWrite)
            #expect(try lock.tryLock(at: 1))
            _ = try program.run(image.string, "-q").succeed()
            #expect(try trash == [".removed-1"])
            let text = try program.run("prune", "--dry-run").succeed().text
            #expect(text.contains(" it is being deleted\n"), "\(text)")
        }
        #expect(try program.run("prune", "--dry-run").succeed().text.contains(" it was being deleted\n"))
        _ = try program.run("snapshot", "prepare", "other").succeed()
        #expect(try trash == [])
    }

    @Test(
        "If no process can be started, everything is deleted before the command ends",
        .enabled(if: TestEnvironment.has("strace"), "needs strace"))
    func alone() throws {
        try unpackLarge()
        let run = try Command.run(
            // strace does not inject the error into the exec of the program itself.
            [
                "strace", "-f", "-o", "/dev/null", "-e", "trace=execve", "-e", "inject=execve:error=ENOENT",
                Program.path.string, "rm", "one",
            ],
            // LeakSanitizer does not work under strace.
            environment: ["UNPACK_ROOT": program.root.string, "ASAN_OPTIONS": "detect_leaks=0"]
        ).succeed()
        #expect(run.text == "one: 1 layer removed, 4.1 kB\n")
        #expect(try trash == [])
    }

    @Test("PID 1 of a container deletes everything itself, because all other processes end with it")
    func first() throws {
        try unpackLarge()
        let run = try Command.run(
            ["unshare", "--pid", "--fork", Program.path.string, "rm", "one"],
            environment: ["UNPACK_ROOT": program.root.string]
        ).succeed()
        #expect(run.text == "one: 1 layer removed, 4.1 kB\n")
        #expect(try trash == [])
    }

    @Test(
        "An unpack without enough free space waits for the deletion of removed trees",
        arguments: [[], ["--max-bytes", "30000000"]])
    func shortOfSpace(options: [String]) throws {
        let disk = try LoopFileSystem(type: "ext4", megabytes: 64)
        let root = disk.path.appending("s")
        let builder = try ImageBuilder(at: program.scratch.path.appending("large"))
        try builder.writeIndex([
            try builder.image([LayerBuilder(.file("noise", Bytes.noise(25_000_000)))], packing: .none)
        ])
        func unpack() throws -> RunningCommand {
            try program.start([builder.path.string, "-q", "--root", root.string] + options)
        }
        _ = try program.run("snapshot", "prepare", "mine", "--root", root.string).succeed()
        let aside = root.appending("overlayfs/.removed-1")
        try FileManager.default.createDirectory(atPath: aside.string, withIntermediateDirectories: false)
        try Data(count: 40_000_000).write(to: URL(fileURLWithPath: aside.appending("f").string))
        let running: RunningCommand
        do {
            let lock = try File.open(root.appending("locks/schema"), .readWrite)
            #expect(try lock.tryLock(at: 1))
            running = try unpack()
            for _ in 1...20 where running.isRunning { Process.sleep(milliseconds: 50) }
            #expect(running.isRunning, "it waits for the process that has the lock")
        }
        _ = try running.finish().succeed()
        #expect(
            try !FileManager.default.contentsOfDirectory(atPath: root.appending("overlayfs").string).contains(
                ".removed-1"))
    }
}

extension FilePath {
    /// Creates a directory with so many files that their deletion takes a while.
    fileprivate func fill(_ count: Int = 30_000) throws {
        let directory = try Directory.makingPath(self, mode: 0o700)
        for number in 0..<count { _ = try directory.createFile(FileName(literal: "\(number)"), mode: 0o600) }
    }
}
