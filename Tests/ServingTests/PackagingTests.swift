import ContainerdAPI
import Foundation
import GRPCCore
import GRPCNIOTransportHTTP2
import SystemPackage
import TestSupport
import Testing

/// Tests `make install-snapshotter` and `make deb` with the program of this build.
@Suite("Packaging of unpack-snapshotter")
struct PackagingTests {
    private static let units = ["unpack-snapshotter.service", "unpack-snapshotter.socket"]

    private static func make(_ target: String, into destination: FilePath, _ variables: String...) throws {
        // These settings prevent a build, downloads and sudo.
        try Command.run(
            [
                "make", "--silent", target, "DESTDIR=\(destination)", "SNAPSHOTTER=\(RunningServer.program)",
                "PROGRAM=\(Built.program("unpack"))", "SWIFT=false", "SUDO=false",
            ] + variables, in: Built.repository
        ).succeed()
    }

    private static func files(in folder: FilePath) throws -> [String] {
        try Command.run("find", folder.string, "-type", "f", "-printf", "%P %m\n").succeed().text
            .split(separator: "\n").map(String.init).sorted()
    }

    @Test(
        "make install-snapshotter installs into the given directories, and make uninstall removes both programs",
        .enabled(if: TestEnvironment.has("make"), "needs make"))
    func install() throws {
        let scratch = try TemporaryDirectory()
        let destination = try scratch.makeDirectory("root")
        try Self.make("install-snapshotter", into: destination, "PREFIX=/usr", "UNITDIR=/units")
        #expect(
            try Self.files(in: destination) == [
                "units/unpack-snapshotter.service 644", "units/unpack-snapshotter.socket 644",
                "usr/bin/unpack-snapshotter 755", "usr/share/man/man8/unpack-snapshotter.8 644",
            ])
        let service = try String(
            contentsOfFile: destination.appending("units/unpack-snapshotter.service").string, encoding: .utf8)
        #expect(service.contains("\nExecStart=/usr/bin/unpack-snapshotter\n"))
        try Self.make("uninstall", into: destination, "PREFIX=/usr", "UNITDIR=/units")
        #expect(try Self.files(in: destination) == [])
        // A single installed program is removed as well.
        for target in ["install", "install-snapshotter"] {
            try Self.make(target, into: destination)
            try Self.make("uninstall", into: destination)
            #expect(try Self.files(in: destination) == [])
        }
    }

    @Test(
        "systemd-analyze verify accepts the units",
        .enabled(
            if: TestEnvironment.has("make") && TestEnvironment.has("systemd-analyze"),
            "needs make and systemd"))
    func units() throws {
        let scratch = try TemporaryDirectory()
        try Self.make("install-snapshotter", into: "", "PREFIX=\(scratch.path)")
        let folder = scratch.path.appending("lib/systemd/system")
        let paths = Self.units.map { folder.appending($0).string }
        let verdict = try Command.run(["systemd-analyze", "verify", "--man=no"] + paths).succeed()
        #expect(verdict.errorText + verdict.text == "")
    }

    @Test(
        "The service shares the host's mount namespace: no setting of its unit creates another",
        .enabled(
            if: TestEnvironment.has("make") && TestEnvironment.has("systemd-analyze"),
            "needs make and systemd"))
    func mounts() throws {
        let unit = try Self.settings(of: "unpack-snapshotter.service")
        // systemd.exec(5): each of these implies PrivateMounts=, or removes access to devices.
        let harmful = [
            "PrivateMounts", "PrivateTmp", "PrivateDevices", "PrivateUsers", "ProtectSystem", "ProtectHome",
            "ProtectKernelTunables", "ProtectKernelModules", "ProtectKernelLogs", "ProtectControlGroups",
            "ProtectClock", "ProtectProc", "ProcSubset", "ReadOnlyPaths", "ReadWritePaths",
            "InaccessiblePaths",
            "ExecPaths", "NoExecPaths", "TemporaryFileSystem", "BindPaths", "BindReadOnlyPaths",
            "RootDirectory",
            "RootImage", "MountFlags", "DynamicUser", "User", "DevicePolicy", "RestrictSUIDSGID",
            "RestrictNamespaces", "SystemCallFilter", "CapabilityBoundingSet",
            // The program creates the store, and the socket unit the directory of the socket.
            "StateDirectory", "RuntimeDirectory",
        ]
        #expect(Set(unit.map(\.0)).isDisjoint(with: harmful))
        for setting in [
            ("Type", "notify"), ("Restart", "always"), ("Before", "containerd.service"),
            ("RestrictAddressFamilies", "AF_UNIX"), ("RestartPreventExitStatus", "64"),
        ] {
            #expect(unit.contains { $0 == setting }, "\(setting)")
        }
        let socket = try Self.settings(of: "unpack-snapshotter.socket")
        for setting in [("ListenStream", "/run/unpack/snapshotter.sock"), ("SocketMode", "0600")] {
            #expect(socket.contains { $0 == setting }, "\(setting)")
        }
        let help = try Command.run(RunningServer.program.string, "--help").succeed().text
        #expect(help.contains("/run/unpack/snapshotter.sock"))
    }

    private static func settings(of unit: String) throws -> [(String, String)] {
        let path = Built.repository.appending("packaging/systemd").appending(unit)
        return try String(contentsOfFile: path.string, encoding: .utf8).split(separator: "\n")
            .filter { !$0.hasPrefix("#") }.compactMap { line in
                let parts = line.split(separator: "=", maxSplits: 1).map(String.init)
                return parts.count == 2 ? (parts[0], parts[1]) : nil
            }
    }

    @Test(
        "The socket that systemd passes is served, whatever --address says",
        .enabled(if: TestEnvironment.has("systemd-socket-activate"), "needs systemd"))
    func activation() async throws {
        let scratch = try TemporaryDirectory(in: try #require(TestEnvironment.scratch))
        let socket = scratch.path.appending("socket")
        let process = try RunningCommand([
            "systemd-socket-activate", "--listen", socket.string, RunningServer.program.string,
            "--root", scratch.path.appending("s").string, "--address", scratch.path.appending("other").string,
        ])
        defer { process.kill() }
        let isListening = try await soon { FileManager.default.fileExists(atPath: socket.string) }
        #expect(isListening)
        let transport = try HTTP2ClientTransport.Posix(
            target: .unixDomainSocket(path: socket.string), transportSecurity: .plaintext)
        let names = try await withGRPCClient(transport: transport) { client in
            try await Snapshots(wrapping: client).list()
        }
        #expect(names == [])
        process.send(SIGTERM)
        try process.finish().succeed()
        // systemd owns the socket.
        #expect(FileManager.default.fileExists(atPath: socket.string))
        #expect(!FileManager.default.fileExists(atPath: scratch.path.appending("other").string))
    }

    @Test(
        "A Debian package contains all files, the socket unit and the scripts that enable it",
        .enabled(
            if: TestEnvironment.has("dpkg-shlibdeps") && TestEnvironment.has("strip"),
            "needs dpkg-dev and binutils"))
    func package() throws {
        let scratch = try TemporaryDirectory()
        // This build is linked dynamically with Swift's libraries, which belong to no package.
        let made = try Command.run(
            Built.repository.appending("packaging/deb").string, "unpack-snapshotter",
            RunningServer.program.string, scratch.path.string,
            environment: [
                "SHLIBDEPS_OPTIONS": "--ignore-missing-info",
                "DEB_OPTIONS": "-Znone", "SOURCE_DATE_EPOCH": "1700000000",
            ]
        ).succeed()
        let package = String(made.text.dropLast())
        let said = try Command.run(RunningServer.program.string, "--version").succeed().text
        let number = said.prefix { $0 != "\n" }.dropFirst("unpack-snapshotter ".count)
        let prefix = "unpack-snapshotter_\(number)-1_"
        #expect(FilePath(package).lastComponent?.string.hasPrefix(prefix) == true)
        let fields = try Command.run("dpkg-deb", "--field", package).succeed().text.split(separator: "\n")
        #expect(fields.contains("Package: unpack-snapshotter"))
        #expect(fields.contains("Enhances: containerd"))
        let depends = try #require(fields.first { $0.hasPrefix("Depends: ") })
        #expect(depends.contains("libarchive13") && !depends.contains("containerd") && !depends.contains("@"))
        let contents = try Command.run("dpkg-deb", "--contents", package).succeed().text
        let paths = contents.split(separator: "\n").compactMap { $0.split(separator: " ").last }
            .filter { !$0.hasSuffix("/") }.sorted()
        let doc = "./usr/share/doc/unpack-snapshotter"
        #expect(
            paths == [
                "./lib/systemd/system/unpack-snapshotter.service",
                "./lib/systemd/system/unpack-snapshotter.socket",
                "./usr/bin/unpack-snapshotter", "\(doc)/changelog.Debian.gz", "\(doc)/containerd.md",
                "\(doc)/copyright",
                "./usr/share/lintian/overrides/unpack-snapshotter",
                "./usr/share/man/man8/unpack-snapshotter.8.gz",
            ])
        for script in ["postinst", "prerm", "postrm"] {
            let text = try Command.run("dpkg-deb", "--info", package, script).succeed().text
            #expect(text.contains("unpack-snapshotter.socket") || script == "prerm", "\(script)")
            let file = try scratch.write(script, Array(text.utf8))
            try Command.run("sh", "-n", file.string).succeed()
        }
    }
}
