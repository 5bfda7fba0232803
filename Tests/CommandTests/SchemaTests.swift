import Foundation
import SystemPackage
import TestSupport
import Testing

private let hasValidator = (try? Command.run("python3", "-c", "import jsonschema"))?.status == 0

/// Validates what the commands print with `--json` against `docs/schemas`.
@Suite(
    "JSON schemas",
    .enabled(
        if: TestEnvironment.canMountOverlay && hasValidator,
        "needs root, overlay mounts and python3-jsonschema"))
struct SchemaTests {
    private static let schemas = Program.fixtures.appending("../docs/schemas").lexicallyNormalized()

    /// Validates each line of the input, which is one document.
    private static let validator = """
        import json, sys, jsonschema
        schema = json.load(open(sys.argv[1]))
        kind = jsonschema.validators.validator_for(schema)
        kind.check_schema(schema)
        for line in sys.stdin.read().splitlines():
            for error in kind(schema).iter_errors(json.loads(line)):
                sys.exit(f"{error.json_path}: {error.message[:300]}")
        """

    private func expect(_ output: [UInt8], matches name: String) throws {
        #expect(!output.isEmpty, "\(name)")
        let result = try Command.run(
            "python3", "-c", Self.validator, Self.schemas.appending("\(name).json").string, input: output)
        #expect(result.status == 0, "\(name): \(result.report)")
    }

    @Test("What every command prints as JSON matches its schema, and every schema is that of a command")
    func commands() throws {
        let program = try Program()
        let image = Program.fixtures.appending("busybox").string
        let edge = Program.fixtures.appending("edge").string
        let other = try program.image([LayerBuilder(.file("a", "1")), LayerBuilder(.file("b", "2"))]).path
            .string
        let unpacked = try program.run(image, "-q", "--json", "--rw", "work").succeed().output
        try program.run(other, "-q").succeed()
        let cases: [(schema: String, commands: [[String]])] = [
            ("inspect", [["inspect", image], ["inspect", edge]]), ("ls", [["ls", "-R", image]]),
            ("diff", [["diff", image, other], ["diff", image, other, "--times"]]),
            ("why", [["why", image, "/etc/os-release"], ["why", image, "/"]]), ("images", [["images"]]),
            ("verify", [["verify"]]), ("config", [["config"]]), ("doctor", [["doctor"]]),
            ("snapshot", [["snapshot", "stat", "work"]]), ("snapshot-ls", [["snapshot", "ls"]]),
            ("snapshot-tree", [["snapshot", "tree"]]), ("snapshot-usage", [["snapshot", "usage"]]),
            ("snapshot-label", [["snapshot", "label", "work", "a=b"]]),
            (
                "snapshot-mounts",
                [
                    ["snapshot", "mounts", "work", "--target", "/mnt"], ["snapshot", "prepare", "empty"],
                    ["snapshot", "view", "look"],
                ]
            ),
            ("prune", [["prune", "-n", "--keep-bytes", "0"], ["prune"]]), ("rm", [["rm", "busybox:1.0"]]),
        ]
        try expect(unpacked, matches: "unpack")
        for (schema, commands) in cases {
            for command in commands {
                try expect(program.run(command + ["--json"]).succeed().output, matches: schema)
            }
        }
        let files = try FileManager.default.contentsOfDirectory(atPath: Self.schemas.string)
        #expect(files.sorted() == (cases.map(\.schema) + ["unpack"]).map { $0 + ".json" }.sorted())
    }

    @Test("The validator finds a document that does not match")
    func validatorWorks() throws {
        let result = try Command.run(
            "python3", "-c", Self.validator, Self.schemas.appending("snapshot-usage.json").string,
            input: Array(#"[{"key": "k", "size": 1, "inodes": 2}]"#.utf8))
        #expect(result.status == 1 && result.errorText.contains("'size' was unexpected"), "\(result.report)")
    }
}
