import ContainerdAPI
import GRPCCore
import SwiftProtobuf
import SystemPackage
import TestSupport
import Testing

@Suite(
    "The snapshots service", .enabled(if: TestEnvironment.canMountOverlay, "needs root and overlay mounts"))
struct SnapshotsServiceTests {
    @Test("A snapshot is prepared, committed and removed, as containerd's protocol defines")
    func lifecycle() async throws {
        let server = try RunningServer()
        try await server.connected { client in
            let mounts = try await client.prepare("default/1/a", labels: ["l": "1"])
            #expect(mounts.count == 1 && mounts[0].type == "bind" && mounts[0].options == ["rw", "rbind"])
            #expect(try await client.mounts("default/1/a") == mounts)
            try TemporaryFile.write(FilePath(mounts[0].source).appending("file"), "content")
            let active = try await client.stat("default/1/a")
            #expect(active.kind == .active && active.parent.isEmpty && active.labels == ["l": "1"])
            #expect(active.createdAt == active.updatedAt && active.createdAt.seconds > 1_700_000_000)
            try await client.commit("default/1/a", as: "default/2/base", labels: ["l": "2"])
            let base = try await client.stat("default/2/base")
            #expect(base.kind == .committed && base.labels == ["l": "2"])
            let usage = try await client.usage("default/2/base")
            #expect(usage.inodes == 2 && usage.size > 0)

            let overlay = try await client.prepare("default/3/b", parent: "default/2/base")
            #expect(overlay.first?.type == "overlay" && overlay.first?.source == "overlay")
            let names = overlay[0].options.compactMap { $0.split(separator: "=").first }
            #expect(names.starts(with: ["workdir", "upperdir", "lowerdir"]))
            let view = try await client.view("default/4/v", parent: "default/2/base")
            #expect(view.first?.options == ["ro", "rbind"])
            #expect(view.first?.source == mounts[0].source)
            #expect(try await client.list() == [["default/2/base", "default/3/b", "default/4/v"]])
            #expect(
                try await client.list(["kind==view", "name==default/2/base"]) == [
                    ["default/2/base", "default/4/v"]
                ])
            let updated = try await client.update("default/3/b", labels: ["x": "y", "z": ""], ["labels.x"])
            #expect(updated.labels == ["x": "y"] && updated.parent == "default/2/base")
            for key in ["default/4/v", "default/3/b", "default/2/base"] { try await client.remove(key) }
            try await client.cleanup()
            #expect(try await client.list().isEmpty)
        }
        #expect(try server.names() == [])
    }

    @Test("Names that differ by bytes and are equal strings are listed and verified as different snapshots")
    func equalStrings() async throws {
        let server = try RunningServer()
        let names = ["caf\u{E9}", "cafe\u{301}"]
        try await server.connected { client in
            for (number, name) in names.enumerated() {
                _ = try await client.prepare("\(number)")
                try await client.commit("\(number)", as: "base \(number)")
                _ = try await client.prepare("\(number)", parent: "base \(number)")
                try await client.commit("\(number)", as: name)
                _ = try await client.prepare("top \(number)", parent: name)
            }
        }
        let tree = try server.unpack("snapshot", "tree").succeed().text.split(separator: "\n")
        for (number, name) in names.enumerated() {
            let index = try #require(
                tree.firstIndex { $0.utf8.reversed().starts(with: name.utf8.reversed()) })
            #expect(tree[index + 1].hasSuffix("top \(number)"))
        }
        try server.unpack("verify").succeed()
    }

    @Test("Invalid calls fail with containerd's codes")
    func codes() async throws {
        let server = try RunningServer()
        try await server.connected { client in
            _ = try await client.prepare("a")
            _ = try await client.prepare("b")
            try await client.commit("b", as: "base")
            _ = try await client.view("v", parent: "base")
            #expect(await code { _ = try await client.prepare("x", parent: "none") } == .notFound)
            #expect(await code { _ = try await client.prepare("x", parent: "a") } == .invalidArgument)
            #expect(await code { _ = try await client.prepare("a") } == .alreadyExists)
            #expect(await code { _ = try await client.view("base") } == .alreadyExists)
            #expect(await code { _ = try await client.prepare("") } == .invalidArgument)
            #expect(await code { try await client.commit("none", as: "base") } == .notFound)
            #expect(await code { try await client.commit("a", as: "base") } == .alreadyExists)
            #expect(await code { try await client.commit("v", as: "y") } == .failedPrecondition)
            #expect(await code { try await client.commit("a", as: "y", parent: "none") } == .notFound)
            #expect(await code { try await client.commit("a", as: "y", parent: "v") } == .failedPrecondition)
            #expect(await code { _ = try await client.mounts("none") } == .notFound)
            #expect(await code { _ = try await client.mounts("base") } == .failedPrecondition)
            #expect(await code { _ = try await client.stat("none") } == .notFound)
            #expect(await code { _ = try await client.usage("none") } == .notFound)
            #expect(await code { _ = try await client.update("none", labels: [:], []) } == .notFound)
            #expect(
                await code { _ = try await client.update("a", labels: [:], ["parent"]) } == .invalidArgument)
            let long = String(repeating: "x", count: 4096)
            #expect(
                await code { _ = try await client.update("a", labels: ["l": long], []) } == .invalidArgument)
            #expect(await code { try await client.remove("none") } == .notFound)
            #expect(await code { try await client.remove("base") } == .failedPrecondition)
            #expect(await code { _ = try await client.list(["name~=("]) } == .invalidArgument)
            #expect(await code { _ = try await client.prepare("x", "other") } == .invalidArgument)
        }
    }

    @Test("Keys and labels are stored byte for byte, or refused")
    func oddTexts() async throws {
        let server = try RunningServer()
        try await server.connected { client in
            let odd = "new\nline \u{1B}[31m \u{0301} \u{FFFD}"
            _ = try await client.prepare(odd, labels: [odd: odd])
            let info = try await client.stat(odd)
            #expect(Array(info.name.utf8) == Array(odd.utf8) && info.labels == [odd: odd])
            // Canonically equivalent strings are different keys.
            _ = try await client.prepare("e\u{0301}")
            #expect(await code { _ = try await client.stat("\u{E9}") } == .notFound)

            // A text in SQLite ends at a NUL.
            for key in ["a\0b", "\0"] {
                #expect(await code { _ = try await client.prepare(key) } == .invalidArgument)
                #expect(await code { _ = try await client.stat(key) } == .invalidArgument)
                #expect(await code { try await client.commit(odd, as: key) } == .invalidArgument)
                #expect(
                    await code { _ = try await client.prepare("b", labels: [key: "x"]) } == .invalidArgument)
                #expect(
                    await code { _ = try await client.prepare("b", labels: ["x": key]) } == .invalidArgument)
            }
            let long = String(repeating: "long ", count: 200_000)
            #expect(await code { _ = try await client.stat(long) } == .notFound)
            #expect(await code { _ = try await client.prepare("x", long) } == .invalidArgument)
            #expect(await code { _ = try await client.list(["name~=(\(long)"]) } == .invalidArgument)
            #expect(await code { _ = try await client.update(odd, labels: [:], [long]) } == .invalidArgument)
            // The connection has survived these calls.
            #expect(try await client.list() == [[odd, "e\u{0301}"]])
        }
    }

    @Test("A long list is sent in messages of a hundred snapshots")
    func batches() async throws {
        let server = try RunningServer(["--sync", "none"])
        try await server.connected { client in
            for number in 1...205 { _ = try await client.view("view-\(number)") }
            let batches = try await client.list()
            #expect(batches.map(\.count) == [100, 100, 5])
            #expect(batches.flatMap(\.self) == (1...205).map { "view-\($0)" })
        }
    }

    @Test("A long list of large labels is sent in messages that clients accept")
    func largeBatches() async throws {
        let server = try RunningServer(["--sync", "none"])
        let labels = Dictionary(
            uniqueKeysWithValues: (0..<240).map { ("l\($0)", String(repeating: "x", count: 4000)) })
        try await server.connected { client in
            for number in 1...6 { _ = try await client.prepare("key-\(number)", labels: labels) }
            // Each message is smaller than gRPC's default limit of 4 MiB.
            let sizes = try await client.list().map(\.count)
            #expect(sizes == [2, 2, 2])
            let more = labels.merging((240..<280).map { ("l\($0)", String(repeating: "x", count: 4000)) }) {
                $1
            }
            #expect(await code { _ = try await client.prepare("more", labels: more) } == .invalidArgument)
            let long = String(repeating: "k", count: 4097)
            #expect(await code { _ = try await client.prepare(long) } == .invalidArgument)
        }
    }

    /// Closing any descriptor of a database file releases the process's POSIX locks on it, on which SQLite relies
    /// (fcntl(2)).
    @Test("A server with several snapshotters keeps its database open while other processes use the store")
    func severalKeepTheDatabase() async throws {
        let server = try RunningServer(["--snapshotter", "a=overlayfs", "--snapshotter", "b=overlayfs"])
        try await server.connected { client in
            _ = try await client.prepare("before", "a")
            try server.unpack("images").succeed()
            try server.unpack("-q", RunningServer.fixture("busybox")).succeed()
            _ = try await client.prepare("after", "a")
            _ = try await client.prepare("after", "b")
        }
        let open = try Command.run("sh", "-c", "ls -l /proc/$(\(server.findProcess))/fd").succeed().text
        #expect(open.contains("metadata.db") && !open.contains("(deleted)"), "\(open)")
        server.kill()
        try server.start()
        try await server.connected { client in
            let (first, second) = (try await client.list([], "a"), try await client.list([], "b"))
            #expect(first == [["before", "after"]] && second == [["after"]])
        }
        let ids = try Command.run(
            "sqlite3", server.root.appending("metadata.db").string,
            "SELECT count(*), count(DISTINCT id) FROM snapshot")
        #expect(try ids.succeed().text.split(separator: "|").count == 2)
    }

    @Test("One process serves several snapshotters, whose keys are independent")
    func several() async throws {
        let server = try RunningServer(["--snapshotter", "a=overlayfs", "--snapshotter", "b=native"])
        try await server.connected { client in
            for name in ["a", "b"] {
                _ = try await client.prepare("default/1/k", name, labels: ["of": name])
                #expect(try await client.stat("default/1/k", name).labels == ["of": name])
                #expect(try await client.list([], name) == [["default/1/k"]])
            }
            #expect(await code { _ = try await client.stat("default/1/k") } == .invalidArgument)
        }
        #expect(try server.names() == ["a:default/1/k"])
    }

    @Test("A layer that `unpack IMAGE` has verified is adopted, and neither side loses it")
    func claimed() async throws {
        let server = try RunningServer()
        let line = try server.unpack(RunningServer.fixture("busybox")).succeed().text
        let chains = try server.names()
        #expect(chains.count == 5)
        try await server.connected { client in
            var parent = ""
            for chain in chains {
                let refusal = await code {
                    _ = try await client.prepare(
                        "extract-1 \(chain)", parent: parent, labels: ["containerd.io/snapshot.ref": chain])
                }
                #expect(refusal == .alreadyExists)
                let found = try await client.list([
                    #"labels."containerd.io/snapshot.ref"==\#(chain),parent=="\#(parent)""#
                ])
                #expect(found == [[chain]])
                parent = chain
            }
            let mounts = try await client.prepare("container", parent: parent)
            // The mounts name the same layers as the line of `unpack`.
            for path in mounts[0].options[2].dropFirst("lowerdir=".count).split(separator: ":") {
                #expect(line.contains(path))
            }
            try server.unpack("rm", "busybox:1.0").succeed()
            try server.unpack("prune").succeed()
            #expect(try await client.list().flatMap(\.self).count == 6)
            for key in ["container"] + chains.reversed() { try await client.remove(key) }
        }
        #expect(try server.names() == [])
    }
}

enum TemporaryFile {
    static func write(_ path: FilePath, _ text: String) throws {
        try Command.run("sh", "-c", #"printf %s "$1" > "$0""#, path.string, text).succeed()
    }
}
