import Foundation
import Glibc
import Kernel
import OCI
import SystemPackage
import TestSupport
import Testing

/// Progress on stderr, as events and lines. `TerminalTests` tests bars.
@Suite("Progress", .enabled(if: TestEnvironment.canApplyLayers, "needs root and a file system for layers"))
struct ProgressTests {
    private static let layers = [
        LayerBuilder(.file("one", "1"), .file("attribute").xattr("trusted.unpack", "value")),
        LayerBuilder(.file("two", "2")), LayerBuilder(.file("three", "3")),
    ]

    private typealias Fields = [String: Any]

    private static func objects(_ text: String) throws -> [Fields] {
        try text.split(separator: "\n").map { line in
            let object = try JSONSerialization.jsonObject(with: Data(line.utf8)) as? Fields
            return try #require(object, "no object: \(line)")
        }
    }

    private static func names(_ events: [Fields]) -> [String] { events.compactMap { $0["event"] as? String } }

    /// The fields of each event in `docs/progress.md`, without `event` and `time`, and the fields that it documents.
    private static func documented() throws -> (events: [String: Set<String>], fields: Set<String>) {
        let path = Program.fixtures.appending("../docs/progress.md").string
        let page = try String(contentsOfFile: path, encoding: .utf8)
        func rows(of title: String) -> [[String]] {
            let section = page.components(separatedBy: "\n## \(title)\n").last?
                .components(separatedBy: "\n## ").first
            return (section ?? "").split(separator: "\n").filter { $0.hasPrefix("| `") }
                .map { $0.split(separator: "|").map { $0.trimmingCharacters(in: .whitespaces) } }
        }
        func quoted(_ cell: String) -> [String] {
            cell.components(separatedBy: "`").enumerated().filter { $0.offset % 2 == 1 }.map(\.element)
        }
        var events = [String: Set<String>]()
        var fields = Set<String>()
        for row in rows(of: "Events") {
            let name = try #require(quoted(row[0]).first)
            // The table of events has three columns, that of fields two.
            if row.count == 3 { events[name] = Set(quoted(row[2])) } else { fields.insert(name) }
        }
        return (events, fields)
    }

    @Test("Each line of --progress json is an event with the documented fields, and events are in order")
    func events() throws {
        let program = try Program()
        let image = try program.image(Self.layers).path.string
        let result = try program.run(image, "--progress", "json").succeed()
        #expect(result.text.split(separator: "\n").count == 1)
        let events = try Self.objects(result.errorText)
        let names = Self.names(events)
        #expect(names.first == "planned" && Array(names.suffix(2)) == ["syncing", "done"])
        for name in ["started", "progressed", "committed"] {
            let layers = events.filter { $0["event"] as? String == name }.compactMap { $0["layer"] as? Int }
            #expect(Set(layers) == [1, 2, 3], "\(name)")
        }
        let committed = events.filter { $0["event"] as? String == "committed" }
        #expect(committed.compactMap { $0["layer"] as? Int } == [1, 2, 3])
        #expect(names.filter { $0 == "warned" }.count == 1)

        let planned = try #require(events.first?["layers"] as? [Fields])
        #expect(planned.allSatisfy { $0["cached"] as? Bool == false })
        #expect(
            planned.compactMap { $0["digest"] as? String } == committed.compactMap { $0["digest"] as? String }
        )
        let sizes = planned.compactMap { $0["size"] as? Int }
        #expect(events.first?["size"] as? Int == sizes.reduce(0, +))
        #expect(events.last?["chainID"] as? String == planned.last?["chainID"] as? String)
        for event in events where event["event"] as? String == "progressed" {
            let layer = try #require(event["layer"] as? Int)
            #expect(event["bytes"] as? Int == sizes[layer - 1] && event["size"] as? Int == sizes[layer - 1])
        }

        // The second run reads no layer.
        let again = try Self.objects(try program.run(image, "--progress", "json").succeed().errorText)
        #expect(Self.names(again) == ["planned", "done"] && again[0]["size"] as? Int == 0)
        let cached = try #require(again[0]["layers"] as? [Fields])
        #expect(cached.allSatisfy { $0["cached"] as? Bool == true })
    }

    @Test("Every field of every event is documented, and every documented field occurs")
    func documentation() throws {
        let (documented, explained) = try Self.documented()
        #expect(
            Set(documented.keys) == [
                "receiving", "planned", "waiting", "started", "progressed", "warned", "committed", "read",
                "syncing",
                "done", "failed",
            ])
        let program = try Program()
        let image = try program.image(Self.layers)
        var events = try Self.objects(try program.run(image.path.string, "--progress", "json").errorText)
        let broken = try ImageBuilder(at: program.scratch.path.appending("broken"))
        let blob = try broken.layer(LayerBuilder(.file("x", "x")))
        let config = try broken.config(.host, [LayerBuilder(.file("x", "x")).diffID])
        try broken.writeIndex([try broken.manifest(config, [blob])])
        try broken.damageBlob(blob) { $0[5] ^= 1 }
        let failed = try program.run(broken.path.string, "--progress", "json")
        #expect(failed.status == 65 && failed.text == "")
        // The error message is the same as without events.
        let lines = failed.errorText.split(separator: "\n").map(String.init)
        #expect(lines.suffix(2).map { $0.prefix(6) } == ["unpack", "hint: "])
        let told = try Self.objects(lines.dropLast(2).joined(separator: "\n"))
        #expect(told.last?["event"] as? String == "failed" && told.last?["status"] as? Int == 65)
        events += told
        events += try waiting()
        events += try piped(program, image)
        for event in events {
            let name = try #require(event["event"] as? String)
            let fields = Set(event.keys).subtracting(["event", "time"])
            #expect(fields == documented[name], "\(event)")
            let inner = (event["layers"] as? [Fields] ?? []).flatMap(\.keys)
            #expect(fields.union(inner).isSubset(of: explained), "\(event)")
            let time = try #require(event["time"] as? String)
            #expect(time.matches("20*-*-*T*:*:*.*Z"), "\(time)")
        }
        #expect(Set(Self.names(events)) == Set(documented.keys))
    }

    /// The events for an archive that arrives slowly, with a tar as output.
    private func piped(_ program: Program, _ image: ImageBuilder) throws -> [Fields] {
        let tar = try program.scratch.write("slow.tar", LayerBuilder(try image.members()).tar).string
        let script = #"""
            slowly() {
                head -c 3000 "$1"
                for i in $(seq 300); do grep -qs receiving "$2" && break; sleep 0.1; done
                tail -c +3001 "$1"
            }
            slowly "$1" "$2" | "$0" --progress json -o - - >/dev/null 2>"$2"
            """#
        let said = program.scratch.path.appending("said").string
        try Command.run("sh", "-ec", script, Program.path.string, tar, said).succeed()
        return try Self.objects(String(contentsOfFile: said, encoding: .utf8))
    }

    /// The events of a process that waits for a layer: the test holds the layer's lock.
    private func waiting() throws -> [Fields] {
        let program = try Program()
        try program.run(try program.image([LayerBuilder(.file("makes the store"))]).path.string).succeed()
        let image = try program.image(Self.layers).path.string
        let command = try withLockedLayer(program) {
            let command = try program.start(image, "--progress", "json")
            while command.isRunning, !command.errorText.contains("waiting") { usleep(1000) }
            return command
        }
        return try Self.objects(try command.finish().succeed().errorText)
    }

    private func withLockedLayer<Value>(_ program: Program, _ body: () throws -> Value) throws -> Value {
        let locks = try Directory(opening: program.root.appending("locks"))
        let file = try locks.openOrCreateFile(FileName(literal: "chains"), mode: 0o600)
        // A byte of the lock file per chain (docs/on-disk.md). The lowest chain ID is the lowest diff ID.
        let offset = try #require(Int64(Self.layers[0].diffID.digest.hex.prefix(15), radix: 16))
        #expect(try file.tryLock(at: offset))
        return try body()
    }

    @Test("At most ten progress events per second are written for a layer")
    func pace() throws {
        let program = try Program()
        let content = (1...60).flatMap { _ in Bytes.noise(1 << 20).array }
        let image = try program.image([LayerBuilder(.file("large", Bytes(content)))], packing: .none).path
            .string
        let result = try program.run(image, "--progress", "json").succeed()
        let clock = ISO8601DateFormatter()
        clock.formatOptions = [.withInternetDateTime, .withFractionalSeconds]
        let times = try Self.objects(result.errorText).filter { $0["event"] as? String == "progressed" }
            .map { event in
                let text = try #require(event["time"] as? String)
                // The formatter reads milliseconds only.
                return try #require(clock.date(from: text.prefix(23) + "Z"))
            }
        // With a margin for a slow machine. Without a limit there would be 240 events.
        let seconds = try #require(times.last).timeIntervalSince(try #require(times.first))
        #expect(Double(times.count) <= seconds * 10 + 3, "\(times.count) in \(seconds) s")
    }

    @Test("With --log-format json every line on stderr is a JSON object")
    func remarks() throws {
        let program = try Program()
        let image = try program.image(Self.layers).path.string
        let cases: [(arguments: [String], status: Int32, levels: Set<String>)] = [
            ([image, "-v"], 0, ["debug", "info", "warning"]),
            (["\(image)-not"], 66, ["error"]),
            ([image, "--rw", "no/key"], 64, ["error"]),
            ([image, "--no-such-option"], 64, ["error"]),
            (["images", "--no-such-option"], 64, ["error"]),
            (["umount", "/nowhere"], 66, ["error"]),
            (["verify"], 0, ["info"]),
            (["rm", "nothing"], 66, ["error"]),
            (["snapshot", "stat", "nothing"], 66, ["error"]),
        ]
        for (arguments, status, levels) in cases {
            for form in [["--log-format", "json"], ["--log-format=json"]] {
                if status == 0, form.count == 1 { continue }
                let result = try program.run(arguments + form)
                #expect(result.status == status, "\(result.report)")
                let remarks = try Self.objects(result.errorText)
                #expect(Set(remarks.compactMap { $0["level"] as? String }) == levels, "\(result.report)")
                for remark in remarks {
                    #expect(Set(remark.keys).isSubset(of: ["level", "message", "hint", "status"]))
                    #expect((remark["status"] != nil) == (remark["level"] as? String == "error"))
                    if let said = remark["status"] as? Int { #expect(Int32(said) == status) }
                }
            }
        }
        let wrong = try program.run("images", "--log-format", "xml")
        #expect(wrong.status == 64 && wrong.errorText == "unpack: --log-format is text or json, not xml\n")
    }

    @Test("--progress and --quiet reduce the output to lines, warnings or nothing")
    func styles() throws {
        func said(_ arguments: String...) throws -> [String] {
            let program = try Program()
            let image = try program.image(Self.layers).path.string
            return try program.run([image] + arguments).succeed().errorText.split(separator: "\n").map(
                String.init)
        }
        let warning =
            "unpack: warning: layer 1 of 3 (*): entry 'attribute': extended attribute trusted.unpack*"
        let lines = (1...3).map { "unpack: layer \($0) of 3 (*): * in * s" }
        for plain in [try said(), try said("--progress", "plain"), try said("--progress", "auto")] {
            #expect(plain.count == 4 && plain[0].matches(warning), "\(plain)")
            #expect(zip(plain.dropFirst(), lines).allSatisfy { $0.matches($1) }, "\(plain)")
        }
        let none = try said("--progress", "none")
        #expect(none.count == 1 && none[0].matches(warning), "\(none)")
        for style in ["auto", "plain", "json", "none"] { #expect(try said("-q", "--progress", style) == []) }
    }
}
