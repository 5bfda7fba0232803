import Foundation
import Kernel
import SystemPackage
import TestSupport
import Testing

/// Runs the scripts of docs/ci.md and README.md as printed, each in a new directory with a store of its own.
@Suite(
    "Recipes",
    .enabled(
        if: TestEnvironment.canMountOverlay && TestEnvironment.has("skopeo") && TestEnvironment.has("jq"),
        "needs overlay mounts, skopeo and jq"))
struct RecipeTests {
    private static let repository = Program.fixtures.appending("..").lexicallyNormalized()

    private static func blocks(_ page: String, _ language: String) -> [MarkdownBlock] {
        ((try? MarkdownBlock.all(in: repository.appending(page))) ?? []).filter { $0.language == language }
    }

    private static let shellRecipes =
        blocks("docs/ci.md", "sh") + blocks("docs/recipes.md", "sh").filter(isPossible)

    /// Whether the program that a recipe is about is here.
    private static func isPossible(_ recipe: MarkdownBlock) -> Bool {
        ["bwrap", "systemd-nspawn", "podman"].allSatisfy { name in
            !recipe.text.contains(name + " ") || TestEnvironment.has(name)
        }
    }

    /// The environment of a script: a directory, a store, and replacements for programs that a test must not run.
    private struct Workplace {
        let program: Program
        let folder: FilePath
        let environment: [String: String]

        init() throws {
            let program = try Program()
            self.program = program
            folder = try program.scratch.makeDirectory("job")
            let programs = try program.scratch.makeDirectory("bin")
            func add(_ name: String, _ text: String) throws {
                try program.scratch.write("bin/\(name)", Array("#!/bin/sh\n\(text)\n".utf8))
                try Command.run("chmod", "755", programs.appending(name).string).succeed()
            }
            // There is no registry: every image of one is the fixture.
            try add(
                "skopeo",
                #"""
                for word; do
                    shift
                    case $word in docker://*) word="oci:\#(Program.fixtures)/busybox:busybox:1.0" ;; esac
                    set -- "$@" "$word"
                done
                exec \#(try Command.run("sh", "-c", "command -v skopeo").succeed().text.dropLast()) "$@"
                """#)
            try add("sudo", #"exec "$@""#)
            // Nothing is installed: the arguments are recorded.
            try add("apt-get", #"echo "$@" >>"$RUNNER_TEMP/apt-get"; for last; do :; done; test -s "$last""#)
            try Command.run(
                "ln", "-s", Program.path.lexicallyNormalized().string, programs.appending("unpack").string
            ).succeed()
            // podman raises limits by default, which needs CAP_SYS_RESOURCE.
            let limits = try program.scratch.write(
                "containers.conf",
                Array("[containers]\ndefault_ulimits = [\"nofile=1024:1024\", \"nproc=1024:1024\"]\n".utf8))
            let path = ProcessInfo.processInfo.environment["PATH"] ?? ""
            environment = [
                "PATH": "\(programs):\(path)", "UNPACK_ROOT": program.root.string, "UNPACK_CONFIG": "",
                "TMPDIR": program.scratch.path.string, "CONTAINERS_CONF": limits.string,
                "RUNNER_TEMP": try program.scratch.makeDirectory("t").string,
                "GITHUB_OUTPUT": folder.appending("output").string, "CI_PROJECT_DIR": folder.string,
            ]
        }

        /// Runs a script in a mount namespace of its own, so that its mounts end with it.
        func run(_ script: String, _ more: [String: String] = [:]) throws -> Command {
            let name = "script-\(UInt32.random(in: 0 ... .max))"
            let path = try program.scratch.write(name, Array(script.utf8)).string
            return try Command.run(
                // systemd-nspawn refuses to clean up below /run/systemd if that is on a disk.
                [
                    "unshare", "--mount", "--propagation", "private", "sh", "-ec",
                    BundleOutputTests.onlyCgroup2
                        + #"; mkdir -p /run/systemd; mount -t tmpfs tmpfs /run/systemd; exec sh -e "$0""#,
                    path,
                ],
                environment: environment.merging(more) { $1 }, in: folder)
        }
    }

    @Test("The pages have recipes")
    func count() {
        #expect(Self.shellRecipes.count >= 4)
        #expect(!Self.blocks("README.md", "sh").isEmpty)
    }

    @Test("A shell recipe works as printed, also the second time", arguments: shellRecipes)
    func shell(recipe: MarkdownBlock) throws {
        let workplace = try Workplace()
        let first = try workplace.run(recipe.text).succeed()
        let said = ["unpack fixture\n", "built here\n", "sha256:"].contains { first.text.hasPrefix($0) }
        #expect(said && first.errorText == "", "\(first.report)")
        let second = try workplace.run(recipe.text).succeed()
        #expect(second.text == first.text)
    }

    @Test("The recipe for retries fetches the image again if a blob is damaged or missing")
    func damaged() throws {
        let recipe = try #require(Self.shellRecipes.first { $0.text.contains("fetch()") })
        for damage in ["printf x | dd of=$blob bs=1 seek=9 conv=notrunc status=none", "rm $blob"] {
            let workplace = try Workplace()
            let whole = try workplace.run(
                "skopeo copy --quiet docker://debian:12 oci:image:debian; for blob in $(ls -S image/blobs/sha256/* | head -n 1); do \(damage); done"
            ).succeed()
            #expect(whole.text == "")
            let result = try workplace.run(recipe.text).succeed()
            #expect(result.text.hasPrefix("sha256:") && result.errorText.contains("layer 1 of 5"))
        }
    }

    @Test("The recipes for an ordinary user work without root", .enabled(if: TestEnvironment.canBeOrdinary))
    func ordinary() throws {
        let recipe = try #require(Self.shellRecipes.first { $0.text.contains("run-in-namespace") })
        let user = try OrdinaryUser(.subordinate)
        try user.run("skopeo", "copy", "--quiet", "oci:busybox:busybox:1.0", "oci:image:debian").succeed()
        let script = recipe.text.split(separator: "\n").filter { !$0.contains("docker://") }.joined(
            separator: "\n")
        let said = try user.run("sh", "-e", input: Array(script.utf8)).succeed().text
        #expect(said == "unpack fixture\n")
    }

    @Test("The shell blocks of README.md work as printed", arguments: blocks("README.md", "sh"))
    func readme(block: MarkdownBlock) throws {
        let workplace = try Workplace()
        try workplace.run("skopeo copy --quiet docker://debian:12 oci:image:debian").succeed()
        #expect(try workplace.run(block.text).succeed().text != "")
    }

    @Test("The steps for GitHub work as printed, in order")
    func gitHub() throws {
        let blocks = Self.blocks("docs/ci.md", "yaml").filter { $0.heading == "GitHub Actions" }
        try #require(blocks.map(\.scripts.count) == [1, 2])
        let workplace = try Workplace()
        let package = try workplace.program.scratch.write("package", Array("a package".utf8))
        let sum = try Command.run("sha256sum", package.string).succeed().text.prefix(64)
        let install = blocks[0].scripts[0]
        let wrong = try workplace.run(
            install, ["URL": "file://\(package)", "CHECKSUM": String(repeating: "0", count: 64)])
        let installed = workplace.folder.appending("../t/apt-get")
        #expect(try wrong.status != 0 && !installed.exists())
        try workplace.run(install, ["URL": "file://\(package)", "CHECKSUM": String(sum)]).succeed()
        #expect(try installed.exists())

        try workplace.run(blocks[1].scripts[0]).succeed()
        let output = try String(contentsOfFile: workplace.environment["GITHUB_OUTPUT"] ?? "", encoding: .utf8)
        #expect(output.hasPrefix("spec={") && output.filter { $0 == "\n" }.count == 1)
        let shown = try workplace.run(
            blocks[1].scripts[1], ["SPEC": String(output.dropFirst("spec=".count).dropLast())]
        ).succeed()
        #expect(shown.text.contains("NAME=\"unpack fixture\""))
    }

    @Test("The script for GitLab works as printed")
    func gitLab() throws {
        let block = try #require(Self.blocks("docs/ci.md", "yaml").first { $0.heading == "GitLab CI" })
        try #require(block.scripts.count == 1)
        #expect(try Workplace().run(block.scripts[0]).succeed().text.contains("NAME=\"unpack fixture\""))
    }

    @Test("The jobs with a cached store use it the second time")
    func cachedStore() throws {
        let blocks = Self.blocks("docs/ci.md", "yaml").filter { $0.heading.hasSuffix("with a cached store") }
        try #require(blocks.map(\.scripts.count) == [3, 1])
        for block in blocks {
            let workplace = try Workplace()
            let store = FilePath(workplace.environment["UNPACK_ROOT"] ?? "")
            for round in 1...2 {
                var output = ""
                for script in block.scripts {
                    let run = try workplace.run(script).succeed()
                    output += run.text + run.errorText
                }
                #expect(output.contains("NAME=\"unpack fixture\""))
                #expect(output.contains("layer 1 of 5") == (round == 1), "\(output)")
                // The next job has another disk, and only the cache of this one.
                for folder in [store, FilePath(workplace.environment["RUNNER_TEMP"] ?? "")] {
                    try? FileManager.default.removeItem(atPath: folder.string)
                }
                for left in ["image", "rootfs"] {
                    try? FileManager.default.removeItem(atPath: workplace.folder.appending(left).string)
                }
                try FileManager.default.createDirectory(
                    atPath: workplace.environment["RUNNER_TEMP"] ?? "", withIntermediateDirectories: true)
            }
        }
    }

    @Test("Scripts are extracted unchanged from pages and YAML")
    func extracting() throws {
        let scratch = try TemporaryDirectory()
        let page = """
            # One
            ```sh
            a

              b
            ```
            ## Two
            ```yaml
            x:
              - run: |
                  c
                    d

                  e
                with: f
              - id: g
                run: |
                  h
            y:
              script:
                - i
                - j: k
            z: l
            ```
            """
        let blocks = try MarkdownBlock.all(in: try scratch.write("page.md", Array(page.utf8)))
        #expect(blocks.map(\.language) == ["sh", "yaml"])
        #expect(blocks.map(\.heading) == ["One", "Two"] && blocks.map(\.line) == [2, 8])
        #expect(blocks[0].text == "a\n\n  b\n" && blocks[0].scripts == [])
        #expect(blocks[1].scripts == ["c\n  d\n\ne\n", "h\n", "i\nj: k\n"])
    }
}
