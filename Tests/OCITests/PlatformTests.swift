import OCI
import Testing

@Suite("Platforms") struct PlatformTests {
    @Test(
        "A platform is normalised as containerd does",
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
        ])
    func normalises(text: String, expected: String) throws {
        let platform = try Platform(parsing: text)
        #expect(platform.description == expected)
        #expect(try Platform(parsing: expected) == platform)
    }

    @Test(
        "What is no platform is refused",
        arguments: ["", "linux", "linux/", "/amd64", "linux//v8", "a/b/c/d", "a/b/"])
    func refuses(text: String) {
        #expect(throws: Platform.ParseError.malformed(text)) { try Platform(parsing: text) }
    }

    @Test(
        "A candidate is accepted or not",
        arguments: [
            ("linux/amd64", "linux/amd64", true),
            ("linux/amd64", "linux/amd64/v3", true),
            ("linux/amd64/v3", "linux/amd64", false),
            ("linux/amd64", "linux/arm64", false),
            ("linux/amd64", "windows/amd64", false),
            ("linux/arm64", "linux/arm64/v8", true),
            ("linux/arm64", "linux/arm64/v9", false),
            ("linux/arm", "linux/arm/v7", true),
            ("linux/arm", "linux/arm/v6", false),
            ("linux/arm/v6", "linux/arm/v6", true),
        ])
    func accepts(wanted: String, candidate: String, expected: Bool) throws {
        #expect(try Platform(parsing: wanted).accepts(Platform(parsing: candidate)) == expected)
    }

    @Test("The host is a Linux whose architecture is known")
    func host() {
        #expect(Platform.host.os == "linux")
        #expect(Platform.host.architecture != "unsupported")
        #expect(!Platform.host.isUnknown)
    }
}
