import Foundation
import OCI
import Testing

@Suite("Configs for runtimes") struct RuntimeConfigTests {
    private static let passwd = Array(
        """
        root:x:0:0:root:/root:/bin/sh
        app:x:1000:100:App:/home/app:/bin/sh
        4711:x:12:13::/:/bin/sh
        broken
        """.utf8)
    private static let group = Array(
        "root:x:0:\nusers:x:100:app\nwheel:x:10:root,app\naudio:x:29:application\n".utf8)

    @Test(
        "A user is found in the image's own accounts",
        arguments: [
            ("", 0, 0, []), ("root", 0, 0, [10]), ("0", 0, 0, [10]), ("app", 1000, 100, [10]),
            ("1000", 1000, 100, [10]), ("app:", 1000, 100, [10]), ("app:audio", 1000, 29, []),
            ("app:7", 1000, 7, []), ("5000", 5000, 0, []), ("5000:6000", 5000, 6000, []),
            ("5000:wheel", 5000, 10, []), ("4711", 12, 13, []),
        ] as [(String, UInt32, UInt32, [UInt32])])
    func users(text: String, uid: UInt32, gid: UInt32, groups: [UInt32]) throws {
        let user = try ContainerUser(text, passwd: Self.passwd, group: Self.group)
        // root is named by an empty text too, and then has its groups.
        let expected = text.isEmpty ? [10] : groups
        #expect(user.uid == uid && user.gid == gid && user.additionalGroups == expected)
    }

    @Test(
        "Who is not there is told as such",
        arguments: ["nobody", "app:nobody", "-1", "99999999999", "app:-1", "4294967295", "2147483648", "+5"])
    func missing(text: String) {
        #expect(throws: ContainerUser.Failure.self) {
            try ContainerUser(text, passwd: Self.passwd, group: Self.group)
        }
    }

    private func document(_ config: String) throws -> JSONValue {
        let text =
            #"{"os": "linux", "architecture": "arm64", "created": "2020-01-01T00:00:00Z", "rootfs": {"type": "layers", "diff_ids": []}, "config": \#(config)}"#
        let user = try ContainerUser("app", passwd: Self.passwd, group: Self.group)
        return RuntimeConfig.document(
            of: try ImageConfig(parsing: Array(text.utf8)), rootfs: "rootfs", isReadOnly: true, user: user)
    }

    @Test(
        "The command is the entrypoint with the arguments behind it",
        arguments: [
            (#"{"Entrypoint": ["/e", "x"], "Cmd": ["a b"]}"#, ["/e", "x", "a b"]),
            (#"{"Entrypoint": ["/e"], "Cmd": null}"#, ["/e"]), (#"{"Cmd": ["c"]}"#, ["c"]), ("{}", ["sh"]),
        ])
    func command(config: String, arguments: [String]) throws {
        #expect(try document(config)["process"]?["args"]?.texts == arguments)
    }

    @Test("What the image says of its process stands in the config (image spec, conversion.md)")
    func process() throws {
        let config = try document(
            """
            {"Env": ["A=1"], "WorkingDir": "/srv", "StopSignal": "SIGINT", "ExposedPorts": {"80/tcp": {}, "53/udp": {}},
             "Labels": {"org.opencontainers.image.os": "mine", "x": "y"}}
            """)
        let process = try #require(config["process"])
        #expect(process["cwd"] == "/srv")
        #expect(process["env"]?.texts?.first == "A=1")
        #expect(process["env"]?.texts?.last?.hasPrefix("PATH=") == true)
        #expect(process["user"] == ["uid": 1000, "gid": 100, "additionalGids": [10]])
        #expect(config["root"] == ["path": "rootfs", "readonly": true])
        let annotations = try #require(config["annotations"])
        #expect(annotations["org.opencontainers.image.os"] == "mine")
        #expect(annotations["org.opencontainers.image.architecture"] == "arm64")
        #expect(annotations["org.opencontainers.image.variant"] == "v8")
        #expect(annotations["org.opencontainers.image.stopSignal"] == "SIGINT")
        #expect(annotations["org.opencontainers.image.exposedPorts"] == "53/udp,80/tcp")
        #expect(annotations["org.opencontainers.image.created"] == "2020-01-01T00:00:00Z")
        #expect(annotations["x"] == "y")
    }
}
