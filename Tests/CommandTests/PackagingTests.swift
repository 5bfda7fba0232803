import Foundation
import SystemPackage
import TestSupport
import Testing

/// `make install` and `make deb`, with the program of this build.
@Suite("Packaging")
struct PackagingTests {
    private static let repository = Program.fixtures.appending("..").lexicallyNormalized()

    private static func files(in folder: FilePath) throws -> [String] {
        try Command.run("find", folder.string, "-type", "f", "-printf", "%P %m\n").succeed().text
            .split(separator: "\n").map(String.init).sorted()
    }

    @Test(
        "make install installs everything into the given prefix without a compiler, and make uninstall removes it",
        .enabled(if: TestEnvironment.has("make"), "needs make"),
        arguments: [
            ([], "usr/local", "usr/local/share/man", "usr/local/share/zsh/site-functions"),
            (["PREFIX=/usr", "ZSHDIR=/z"], "usr", "usr/share/man", "z"),
            (["PREFIX=/opt/x", "MANDIR=/m"], "opt/x", "m", "opt/x/share/zsh/site-functions"),
        ])
    func install(variables: [String], prefix: String, manual: String, zsh: String) throws {
        let scratch = try TemporaryDirectory()
        let destination = try scratch.makeDirectory("root")
        func make(_ target: String) throws {
            // The installation builds nothing, downloads nothing, and does not use sudo.
            try Command.run(
                [
                    "make", "--silent", target, "DESTDIR=\(destination)", "PROGRAM=\(Program.path)",
                    "SWIFT=false", "SUDO=false",
                ] + variables, in: Self.repository
            ).succeed()
        }
        try make("install")
        let files = try Self.files(in: destination)
        #expect(
            Set(files).isSuperset(of: [
                "\(prefix)/bin/unpack 755", "\(manual)/man1/unpack.1 644",
                "\(manual)/man1/unpack-snapshot-prepare.1 644", "\(manual)/man5/unpack.toml.5 644",
                "\(prefix)/share/bash-completion/completions/unpack 644", "\(zsh)/_unpack 644",
                "\(prefix)/share/fish/vendor_completions.d/unpack.fish 644",
                "\(prefix)/lib/systemd/system/unpack-prune.timer 644",
                "\(prefix)/lib/systemd/system/unpack-prune.service 644",
            ]), "\(files)")
        if TestEnvironment.has("systemd-analyze") {
            let units = ["timer", "service"].map {
                destination.appending("\(prefix)/lib/systemd/system/unpack-prune.\($0)").string
            }
            // The path of the program in the service exists only outside of DESTDIR.
            let verdict = try Command.run(["systemd-analyze", "verify", "--man=no"] + units)
            #expect(!verdict.errorText.contains("Unknown"), "\(verdict.report)")
        }
        #expect(files.count > 20)
        try make("install")
        #expect(try Self.files(in: destination) == files)
        try scratch.write("root/\(manual)/man1/unpack-of-others.1", [])
        try make("uninstall")
        #expect(
            try Self.files(in: destination).map { $0.split(separator: " ")[0] } == [
                "\(manual)/man1/unpack-of-others.1"
            ])
    }

    @Test(
        "A Debian package is complete and reproducible",
        .enabled(
            if: TestEnvironment.has("dpkg-shlibdeps") && TestEnvironment.has("strip"),
            "needs dpkg-dev and binutils"))
    func package() throws {
        let scratch = try TemporaryDirectory()
        func build(_ folder: String) throws -> FilePath {
            // This build is linked to Swift's shared libraries, which no Debian package provides.
            let made = try Command.run(
                Self.repository.appending("packaging/deb").string, "unpack", Program.path.string,
                try scratch.makeDirectory(folder).string,
                environment: [
                    "SHLIBDEPS_OPTIONS": "--ignore-missing-info",
                    "DEB_OPTIONS": "-Znone", "SOURCE_DATE_EPOCH": "1700000000",
                ]
            ).succeed()
            return FilePath(String(made.text.dropLast()))
        }
        let package = try build("one")
        try Command.run("cmp", package.string, try build("two").string).succeed()
        let said = try Command.run(Program.path.string, "--version").succeed().text
        let number = said.prefix { $0 != "\n" }.dropFirst("unpack ".count)
        let fields = try Command.run("dpkg-deb", "--field", package.string).succeed().text
        for field in [
            "Package: unpack", "Version: \(number)-1", "Recommends: mount", "Suggests: .*uidmap",
            "Installed-Size: [0-9]+",
            "Depends: .*libarchive13.*libc6.*libisal2.*libsqlite3-0.*libzstd1", "Maintainer: .+ <.+@.+>",
        ] {
            #expect(
                fields.range(of: "(?m)^\(field)", options: .regularExpression) != nil, "\(field) in \(fields)"
            )
        }
        #expect(!fields.contains("@VERSION@") && !fields.contains("@DEPENDS@"))
        let contents = try Command.run("dpkg-deb", "--contents", package.string).succeed().text
        let lines = contents.split(separator: "\n")
        #expect(lines.allSatisfy { $0.contains(" root/root ") && $0.contains(" 2023-11-14 ") }, "\(contents)")
        for path in [
            "usr/bin/unpack", "usr/share/man/man1/unpack.1.gz", "usr/share/man/man5/unpack.toml.5.gz",
            "usr/share/zsh/vendor-completions/_unpack", "usr/share/doc/unpack/copyright",
            "usr/share/doc/unpack/README.md", "usr/share/doc/unpack/ci.md",
            "lib/systemd/system/unpack-prune.timer",
        ] {
            #expect(lines.contains { $0.hasSuffix(" ./\(path)") }, "\(path)")
        }
        let root = try scratch.makeDirectory("root")
        try Command.run("dpkg-deb", "--extract", package.string, root.string).succeed()
        let version = try Command.run(root.appending("usr/bin/unpack").string, "--version").succeed()
        #expect(version.text == said)
    }

    private static let release = repository.appending(".build/release/unpack")

    @Test(
        "The release program in the package has no ICU, and less than 30 MB",
        .enabled(
            if: FileManager.default.fileExists(atPath: release.string)
                && TestEnvironment.has("dpkg-shlibdeps") && TestEnvironment.has("strip"),
            "needs `make build`, dpkg-dev and binutils"))
    func size() throws {
        let scratch = try TemporaryDirectory()
        let package = try Command.run(
            Self.repository.appending("packaging/deb").string, "unpack", Self.release.string,
            try scratch.makeDirectory("package").string,
            environment: ["SHLIBDEPS_OPTIONS": "--ignore-missing-info", "DEB_OPTIONS": "-Znone"]
        ).succeed().text.dropLast()
        let root = try scratch.makeDirectory("root").string
        try Command.run("dpkg-deb", "--extract", String(package), root).succeed()
        let program = root + "/usr/bin/unpack"
        let size = try FileManager.default.attributesOfItem(atPath: program)[.size] as? Int ?? .max
        #expect(size < 30_000_000)
        // Foundation without FoundationEssentials brings ICU: its functions and its data.
        let names = try Command.run(
            "sh", "-c",
            #"{ nm "$0"; strings -a "$1"; } | grep -E '\b(uloc|ucal|ucol|udat|unorm2)_|icudt'"#,
            Self.release.string, program)
        #expect(names.text.isEmpty, "\(names.text.prefix(1000))")
    }

    @Test("--version prints one line each for the program, the specifications and the libraries")
    func version() throws {
        let text = try Command.run(Program.path.string, "--version").succeed().text
        #expect(
            text.matches(
                "unpack *\nOCI image-spec 1.*, runtime-spec 1.*\nlibarchive 3.*, libzstd 1.*, ISA-L 2.*, SQLite 3.*\n"
            ))
    }
}
