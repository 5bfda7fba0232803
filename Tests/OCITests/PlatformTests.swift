import OCI
import Testing

@Suite("Platforms") struct PlatformTests {
    @Test(
        "A platform is normalized as in containerd",
        arguments: [
            ("linux/amd64", "linux/amd64"), ("Linux/AMD64", "linux/amd64"), ("linux/x86_64", "linux/amd64"),
            ("linux/x86-64", "linux/amd64"), ("linux/amd64/v1", "linux/amd64"),
            ("linux/amd64/v3", "linux/amd64/v3"),
            ("linux/arm64", "linux/arm64"), ("linux/arm64/v8", "linux/arm64"),
            ("linux/arm64/8", "linux/arm64"),
            ("linux/aarch64", "linux/arm64"), ("linux/arm64/v9", "linux/arm64/v9"),
            ("linux/arm", "linux/arm/v7"),
            ("linux/arm/7", "linux/arm/v7"), ("linux/arm/v6", "linux/arm/v6"),
            ("linux/armhf", "linux/arm/v7"),
            ("linux/i386", "linux/386"), ("linux/i686", "linux/386"), ("linux/riscv64", "linux/riscv64"),
            ("windows/amd64", "windows/amd64"),
            // The version and features of an operating system, in containerd's notation.
            ("windows(10.0.17763+win32k)/amd64", "windows(10.0.17763+win32k)/amd64"),
            ("linux(+b+a+b)/x86_64", "linux(+a+b)/amd64"), ("linux(5.10)/arm", "linux(5.10)/arm/v7"),
            ("linux(1%2F2+a%28b)/arm64", "linux(1%2F2+a%28b)/arm64"), ("any/any", "any/any"),
        ])
    func normalises(text: String, expected: String) throws {
        let platform = try Platform(parsing: text)
        #expect(platform.description == expected)
        #expect(try Platform(parsing: expected) == platform)
    }

    @Test(
        "An invalid platform is rejected",
        arguments: [
            "", "linux", "linux/", "/amd64", "linux//v8", "a/b/c/d", "a/b/", "linux()/amd64",
            "linux(+)/amd64",
            "linux(1+)/amd64", "(1)/amd64", "linux(%2)/amd64", "linux(%zz)/amd64", "1)/amd64",
            "linux(%ff)/amd64",
        ])
    func refuses(text: String) {
        #expect(throws: Platform.ParseError.malformed(text)) { try Platform(parsing: text) }
    }

    @Test(
        "The best match is the requested architecture level, then the levels below it",
        arguments: [
            ("linux/amd64/v3", ["linux/amd64/v3", "linux/amd64/v2", "linux/amd64"]),
            ("linux/amd64/v2", ["linux/amd64/v2", "linux/amd64/v1"]),
            ("linux/amd64/v5", ["linux/amd64/v4", "linux/amd64/v3", "linux/amd64/v2", "linux/amd64"]),
            // Without a variant, any variant matches.
            ("linux/amd64", ["linux/amd64", "linux/amd64/v2", "linux/amd64/v3", "linux/amd64/v4"]),
            ("linux/arm/v8", ["linux/arm/v8", "linux/arm/v7", "linux/arm/v6", "linux/arm/v5"]),
            ("linux/arm", ["linux/arm/v7", "linux/arm/v6", "linux/arm/v5"]),
            ("linux/arm64", ["linux/arm64"]), ("linux/arm64/v9", ["linux/arm64/v9", "linux/arm64/v8"]),
            ("linux/riscv64", ["linux/riscv64", "linux/riscv64/rva23u64"]),
            ("linux/riscv64/rva23u64", ["linux/riscv64/rva23u64"]), ("linux/386", ["linux/386"]),
            ("linux/amd64/fast", ["linux/amd64/fast"]),
        ])
    func fits(wanted: String, expected: [String]) throws {
        let wanted = try Platform(parsing: wanted)
        let expected = try expected.map(Platform.init(parsing:))
        let fitting = try Self.all.shuffled().map(Platform.init(parsing:)).compactMap { candidate in
            wanted.distance(to: candidate, allowsHigherLevels: true).map { (candidate, $0) }
        }
        // An unknown level comes last if any level matches.
        let known = fitting.filter { $0.0.variant != "fast" || wanted.variant == "fast" }
        #expect(known.sorted { $0.1 < $1.1 }.map(\.0) == expected)
    }

    private static let all = [
        "linux/amd64", "linux/amd64/v2", "linux/amd64/v3", "linux/amd64/v4", "linux/amd64/fast", "linux/386",
        "linux/arm/v5", "linux/arm/v6", "linux/arm/v7", "linux/arm/v8", "linux/arm64", "linux/arm64/v9",
        "linux/riscv64", "linux/riscv64/rva23u64", "windows/amd64",
    ]

    @Test(
        "A machine matches no level above its own",
        arguments: [("linux/amd64", 1), ("linux/amd64/v3", 3), ("linux/riscv64", 1), ("linux/arm64", 1)])
    func machine(machine: String, expected: Int) throws {
        let machine = try Platform(parsing: machine)
        let fitting = try Self.all.filter {
            machine.distance(to: try Platform(parsing: $0), allowsHigherLevels: false) != nil
        }
        #expect(fitting.count == expected, "\(fitting)")
    }

    @Test(
        "Each OS feature is mandatory, and the OS version must be the requested one",
        arguments: [
            ("linux/amd64", ["linux/amd64", "linux(5.10)/amd64", "any/any"]),
            ("linux(+erofs)/amd64", ["linux(+erofs)/amd64", "linux/amd64", "linux(5.10)/amd64", "any/any"]),
            (
                "linux(+erofs+x)/amd64",
                [
                    "linux(+erofs+x)/amd64", "linux(+erofs)/amd64", "linux/amd64", "linux(5.10)/amd64",
                    "any/any",
                ]
            ),
            ("linux(5.10)/amd64", ["linux(5.10)/amd64", "linux/amd64", "any/any"]),
            ("linux(5)/amd64", ["linux(5.10)/amd64", "linux/amd64", "any/any"]),
            ("linux(5.1)/amd64", ["linux/amd64", "any/any"]),
            ("windows/amd64", ["windows(10.0.1)/amd64", "windows(10.0.2)/amd64", "any/any"]),
            ("windows(10.0.2)/amd64", ["windows(10.0.2)/amd64", "any/any"]),
        ])
    func mandatory(wanted: String, expected: [String]) throws {
        let wanted = try Platform(parsing: wanted)
        let all = [
            "any/any", "linux(5.10)/amd64", "windows(10.0.1)/amd64", "linux/amd64", "linux(+erofs+x)/amd64",
            "windows(10.0.2)/amd64", "linux(+erofs)/amd64",
        ]
        let fitting = try all.map(Platform.init(parsing:)).compactMap { candidate in
            wanted.distance(to: candidate, allowsHigherLevels: true).map { (candidate, $0) }
        }
        #expect(fitting.sorted { $0.1 < $1.1 }.map(\.0.description) == expected)
    }

    @Test(
        "Missing parts of a platform are taken from the other document",
        arguments: [
            ("any/any", "linux/arm/v6", "linux/arm/v6"), ("linux/any", "windows/arm/v6", "linux/arm/v6"),
            ("any/amd64", "linux/arm", "linux/amd64"), ("linux/amd64/v3", "any/any", "linux/amd64/v3"),
            ("linux/amd64", "linux(5+x)/amd64", "linux(5+x)/amd64"), ("any/any", "any/any", "any/any"),
        ])
    func completed(first: String, second: String, expected: String) throws {
        let platform = try Platform(parsing: first).completed(by: try Platform(parsing: second))
        #expect(platform.description == expected)
    }

    @Test("The host platform is Linux with a known architecture")
    func host() {
        #expect(Platform.host.os == "linux")
        #expect(Platform.host.architecture != "unsupported")
        #expect(!Platform.host.isUnknown)
    }

    @Test("A platform of a document can be written and parsed again, or is rejected")
    func roundTrip() throws {
        func config(_ os: String, _ architecture: String) throws -> Platform {
            let text = """
                {"os": "\(os)", "architecture": "\(architecture)", "variant": "",
                 "rootfs": {"type": "layers", "diff_ids": []}}
                """
            return try ImageConfig(parsing: Array(text.utf8)).platform
        }
        // A combining mark and the slash before it are one Character.
        for (os, architecture) in [
            ("linux", "amd64"), ("", ""), ("an os", "x\\n"), ("a", "\u{301}b"), ("", "m"),
        ] {
            let platform = try config(os, architecture)
            _ = try Platform(parsing: platform.description)
        }
        for os in ["linux/\u{301}", "a(", "a)"] {
            #expect(throws: DocumentError.self) { try config(os, "amd64") }
        }
        let error = #expect(throws: DocumentError.self) { try config("linux/amd64", "v2") }
        #expect(error?.description == ".os: 'linux/amd64' is not a valid part of a platform")
    }
}
