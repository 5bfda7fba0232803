import Foundation
import Kernel
import SystemPackage
import TestSupport
import Testing

@Suite(.enabled(if: TestEnvironment.canMountOverlay, "it needs to mount an overlay")) struct DoctorTests {
    private struct Document: Decodable {
        let works: Bool
        let checks: [Check]

        struct Check: Decodable {
            let name: String
            let state: String
            let detail: String
            let remedy: String?
        }

        func state(_ name: String) -> String? { checks.first { $0.name == name }?.state }
    }

    private func document(_ run: Command) throws -> Document {
        try JSONDecoder().decode(Document.self, from: Data(run.output))
    }

    @Test("As root all checks succeed, and nothing is left behind")
    func root() throws {
        let program = try Program()
        let found = try document(try program.run("doctor", "--json").succeed())
        #expect(found.works)
        for name in ["rights", "mount API", "overlay", "layers in the store", "mount"] {
            #expect(found.state(name) == "ok", "\(name)")
        }
        #expect(found.checks.allSatisfy { ["ok", "limited", "missing"].contains($0.state) })
        let appended = KernelRelease.current >= KernelRelease(major: 6, minor: 7)
        #expect(found.state("lowerdir+") == (appended ? "ok" : "limited"))
        #expect(found.state("EROFS in the store") == (TestEnvironment.canMountErofs ? "ok" : "limited"))
        let hasVerity = KernelProbes.hasVerity(in: program.scratch.path) == true
        #expect(found.state("fs-verity in the store") == (hasVerity ? "ok" : "limited"))
        let version = try program.run("--version").succeed().text.split(separator: "\n").last
        #expect(found.checks.first { $0.name == "libraries" }?.detail == version.map(String.init))
        // The check did not create the store.
        #expect(try Command.run("ls", "-A", program.scratch.path.string).succeed().text == "m\n")
        let text = try program.run("doctor").succeed().text
        #expect(text.split(separator: "\n").filter { $0.hasPrefix("ok  ") }.count >= 5)
    }

    @Test("README and the page about kernels name the oldest kernel as the program does")
    func minimumKernel() throws {
        for (page, words) in [
            ("README.md", "| kernel | Linux \(KernelRelease.minimum) or later"),
            ("docs/kernels.md", "Linux \(KernelRelease.minimum) is the oldest kernel"),
        ] {
            let text = try String(contentsOfFile: Built.repository.appending(page).string, encoding: .utf8)
            #expect(text.contains(words), "\(page)")
        }
    }

    @Test("A missing capability is reported with a remedy and in the exit status")
    func contained() throws {
        let program = try Program()
        let run = try Command.run(
            "capsh", "--drop=cap_sys_admin", "--", "-c",
            "\(Program.path) doctor --json --root \(program.root)")
        #expect(run.status == 69)
        let found = try document(run)
        #expect(!found.works && found.state("rights") == "missing")
        #expect(found.checks.first { $0.name == "rights" }?.remedy?.contains("--output DIR") == true)
        // The unpacker agrees with the report.
        let image = Program.fixtures.appending("busybox")
        let refused = try Command.run(
            "capsh", "--drop=cap_sys_admin", "--", "-c", "\(Program.path) \(image) --root \(program.root)")
        #expect(
            refused.status == 77 && refused.errorText.contains("hint: start the container with --privileged"))
        let tree = program.scratch.path.appending("tree")
        try Command.run(
            "capsh", "--drop=cap_sys_admin", "--", "-c", "\(Program.path) \(image) --output \(tree)"
        ).succeed()
        let expected = try program.tree(try program.line(image.string))
        let found2 = try TreeDump(of: try Directory(opening: tree))
        #expect(found2 == expected, "\(found2.difference(from: expected))")
    }

    @Test(
        "For an ordinary user the checks run inside the user namespace",
        .enabled(if: TestEnvironment.canBeOrdinary),
        arguments: OrdinaryUser.IDs.allCases)
    func ordinary(ids: OrdinaryUser.IDs) throws {
        let user = try OrdinaryUser(ids)
        let found = try document(try user.run("unpack", "doctor", "--json").succeed())
        #expect(found.works)
        #expect(found.state("rights") == (ids == .single ? "limited" : "ok"))
        #expect(found.checks.first { $0.name == "store" }?.detail.contains(user.store.string) == true)
    }

    @Test(
        "If namespaces are forbidden, both kinds are reported with what forbids them",
        .enabled(if: TestEnvironment.canBeOrdinary))
    func forbidden() throws {
        let user = try OrdinaryUser(.subordinate, prelude: OrdinaryUser.withoutNamespaces)
        let run = try user.run("unpack", "doctor", "--json")
        #expect(run.status == 69)
        let found = try document(run)
        #expect(found.checks.filter { $0.detail == "user.max_user_namespaces is 0" }.count == 2)
    }

    @Test(
        "In a chroot, where the kernel refuses namespaces, the remedy is not to install anything",
        .enabled(if: TestEnvironment.canBeOrdinary))
    func chroot() throws {
        let program = try Program()
        let place = try program.scratch.makeDirectory("chroot")
        let run = try Command.run(
            "unshare", "-m", "sh", "-ec",
            #"mount --rbind / "$0"; exec chroot "$0" setpriv --reuid=4242 --regid=4242 --clear-groups "$@""#,
            place.string, Program.path.string, "doctor", "--json", "--root", program.root.string)
        #expect(run.status == 69)
        // The user has no subordinate IDs, which is reported first for the other kind.
        let namespace = try document(run).checks.first { $0.name == "namespace with one id" }
        #expect(namespace?.remedy?.contains("outside of a chroot") == true)
    }
}
