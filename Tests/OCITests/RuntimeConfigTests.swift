import Foundation
import OCI
import Testing

@Suite("Runtime configs") struct RuntimeConfigTests {
    private static let passwd = Array(
        """
        root:x:0:0:root:/root:/bin/sh
        app:x:1000:100:App:/home/app:/bin/sh
        4711:x:12:13::/:/bin/sh
        padded:x:01001:0100::/:/bin/sh
        broken
        short:x:2000:100::/home/short
        long:x:2001:100::/home/long:/bin/sh:more
        noid:x::100::/:/bin/sh
        nogroup:x:2002:x::/:/bin/sh
        accent:x:2003:100:\u{301}gecos:/:/bin/sh
        e\u{301}:x:2004:100::/:/bin/sh

        """.utf8)
    private static let group = Array(
        "root:x:0:\nusers:x:100:app\nwheel:x:10:root,app\naudio:x:29:application\n29:x:0:\nbad:x:y:app\n12\n"
            .utf8)

    @Test(
        "A user is resolved with the image's own accounts",
        arguments: [
            ("", 0, 0, []), ("root", 0, 0, [10]), ("0", 0, 0, [10]), ("app", 1000, 100, [10]),
            ("1000", 1000, 100, [10]), ("app:", 1000, 100, [10]), ("app:audio", 1000, 29, []),
            ("app:7", 1000, 7, []), ("5000", 5000, 0, []), ("5000:6000", 5000, 6000, []),
            ("5000:wheel", 5000, 10, []),
            // Digits are ids, even if an account has that name.
            ("4711", 4711, 0, []), ("app:29", 1000, 29, []), ("01000", 1000, 100, [10]),
            ("1001", 1001, 100, []),
            ("0000", 0, 0, [10]), ("2000", 2000, 0, []), ("2001", 2001, 0, []), ("2003", 2003, 100, []),
            ("accent", 2003, 100, []), ("e\u{301}", 2004, 100, []),
        ] as [(String, UInt32, UInt32, [UInt32])])
    func users(text: String, uid: UInt32, gid: UInt32, groups: [UInt32]) throws {
        let user = try ContainerUser(text, passwd: Self.passwd, group: Self.group)
        // An empty text also means root, and then root's groups apply.
        let expected = text.isEmpty ? [10] : groups
        #expect(user.uid == uid && user.gid == gid && user.additionalGroups == expected)
    }

    @Test(
        "An unknown or invalid user or group is rejected",
        arguments: [
            "nobody", "app:nobody", "-1", "99999999999", "app:-1", "4294967295", "2147483648", "+5",
            "short", "long", "noid", "broken", "\u{E9}", "app:bad", "nogroup", "2002", "app:4294967295",
            "app\u{301}",
        ])
    func missing(text: String) {
        #expect(throws: ContainerUser.Failure.self) {
            try ContainerUser(text, passwd: Self.passwd, group: Self.group)
        }
    }

    /// A passwd(5) line whose account name is a number must not turn that id into root.
    @Test("A numeric user is an id, even if an account has that name")
    func numericNames() throws {
        let passwd = Array("1000:x:0:0::/:\nx:x:1000:50::/:\n".utf8)
        let user = try ContainerUser("1000", passwd: passwd, group: Array("1000:x:0:\n50:x:0:1000,x\n".utf8))
        #expect(user.uid == 1000 && user.gid == 50 && user.additionalGroups == [0])
        let group = try ContainerUser("1000:1000", passwd: passwd, group: Array("1000:x:0:\n".utf8))
        #expect(group.uid == 1000 && group.gid == 1000 && group.additionalGroups == [])
    }

    @Test("A malformed group ID does not become group 0")
    func malformedGroups() {
        #expect(throws: ContainerUser.Failure.malformedGroup(ofUser: "nogroup")) {
            try ContainerUser("nogroup", passwd: Self.passwd, group: Self.group)
        }
        #expect(throws: ContainerUser.Failure.malformedGroupID("bad")) {
            try ContainerUser("app:bad", passwd: Self.passwd, group: Self.group)
        }
    }

    private func document(_ config: String, _ labels: AnnotationLabels = .safe) throws -> JSONValue {
        let text =
            #"{"os": "linux", "architecture": "aarch64", "os.version": "1.2", "os.features": ["b", "a"], "author": "A <a@b>", "created": "2020-01-01T00:00:00Z", "rootfs": {"type": "layers", "diff_ids": []}, "config": \#(config)}"#
        let user = try ContainerUser("app", passwd: Self.passwd, group: Self.group)
        return RuntimeConfig.document(
            of: try ImageConfig(parsing: Array(text.utf8)), rootfs: "rootfs", isReadOnly: true, user: user,
            labels: labels)
    }

    @Test(
        "The command is the entrypoint followed by the arguments",
        arguments: [
            (#"{"Entrypoint": ["/e", "x"], "Cmd": ["a b"]}"#, ["/e", "x", "a b"]),
            (#"{"Entrypoint": ["/e"], "Cmd": null}"#, ["/e"]), (#"{"Cmd": ["c"]}"#, ["c"]), ("{}", ["sh"]),
        ])
    func command(config: String, arguments: [String]) throws {
        #expect(try document(config)["process"]?["args"]?.texts == arguments)
    }

    @Test("Process settings of the image are converted to the runtime config (image spec, conversion.md)")
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
        // As written in the config: conversion does not normalize.
        #expect(annotations["org.opencontainers.image.architecture"] == "aarch64")
        #expect(annotations["org.opencontainers.image.variant"] == nil)
        #expect(annotations["org.opencontainers.image.os.version"] == "1.2")
        #expect(annotations["org.opencontainers.image.os.features"] == "b,a")
        #expect(annotations["org.opencontainers.image.author"] == "A <a@b>")
        #expect(annotations["org.opencontainers.image.stopSignal"] == "SIGINT")
        #expect(annotations["org.opencontainers.image.exposedPorts"] == "53/udp,80/tcp")
        #expect(annotations["org.opencontainers.image.created"] == "2020-01-01T00:00:00Z")
        #expect(annotations["x"] == "y")
    }

    @Test(
        "A label that a runtime acts on becomes an annotation only with 'all'",
        arguments: [
            ("org.systemd.property.ExecStopPost", true), ("org.criu.config", true), ("bundle", true),
            ("run.oci.handler", true), ("run.oci.hooks.stdout", true), ("krun.ram_mib", true),
            ("module.wasm.image/variant", true), ("io.kubernetes.cri.container-type", true),
            ("io.kubernetes.cri-o.Devices", true), ("io.containerd.runc.v2.group", true),
            ("io.katacontainers.config.hypervisor.path", true), ("io.kata-containers.config.runtime.x", true),
            ("dev.gvisor.spec.mount.a.source", true), ("io.containers.trace-syscall", true),
            ("io.podman.annotations.privileged", true), ("io.microsoft.virtualmachine.x", true),
            ("cdi.k8s.io/nvidia", true), ("nvidia.cdi.k8s.io/x", true), ("k8s.io/x", true),
            ("cpu-quota.crio.io", true),
            ("seccomp-profile.kubernetes.cri-o.io/POD", true), ("devices.noderesource.nri.io/a", true),
            // Names as seen by a runtime that is written in C or compares bytes.
            ("bundle\u{0}x", true), ("run.oci.\u{301}x", true), ("\u{0}x", true), ("", true),
            ("maintainer", false), ("org.opencontainers.image.title", false),
            ("com.docker.compose.project", false),
            ("org.label-schema.name", false), ("run.ociX", false), ("bundles", false), ("mycrio.io", false),
            ("example.com/k8s.io", false), ("io.buildpacks.stack.id", false),
        ])
    func labels(name: String, steers: Bool) throws {
        let key = String(decoding: try JSONEncoder().encode(name), as: UTF8.self)
        let config = #"{"Labels": {\#(key): "v", "other": "w"}}"#
        func annotation(_ labels: AnnotationLabels) throws -> JSONValue? {
            let annotations = try #require(try document(config, labels)["annotations"])
            #expect(annotations["other"] == (labels == .none ? nil : "w"))
            #expect(annotations["org.opencontainers.image.os"] == "linux")
            return annotations[name]
        }
        #expect(try annotation(.all) == "v")
        #expect(try annotation(.safe) == (steers ? nil : "v"))
        #expect(try annotation(.none) == nil)
        let text =
            #"{"os": "linux", "architecture": "arm64", "rootfs": {"type": "layers", "diff_ids": []}, "config": \#(config)}"#
        let names = RuntimeConfig.reservedLabels(of: try ImageConfig(parsing: Array(text.utf8)))
        #expect(names == (steers ? [name] : []))
    }

    @Test("A missing field of the image produces no annotation")
    func absentFields() throws {
        let text = #"{"os": "", "rootfs": {"type": "layers", "diff_ids": []}}"#
        let config = RuntimeConfig.document(
            of: try ImageConfig(parsing: Array(text.utf8)), rootfs: "rootfs", isReadOnly: true,
            user: try ContainerUser("", passwd: [], group: []), labels: .safe)
        #expect(config["annotations"] == [:])
    }

    @Test("Entries of Env that runc rejects are omitted and reported")
    func environment() throws {
        let config =
            #"{"Env": ["A=1", "NOVALUE", "=x", "B=", "N=a\u0000b", "", "PATH=\u0301/x", "C=\u0301=d"]}"#
        #expect(
            try document(config)["process"]?["env"]?.texts == ["A=1", "B=", "PATH=\u{301}/x", "C=\u{301}=d"])
        let text = #"{"rootfs": {"type": "layers", "diff_ids": []}, "config": \#(config)}"#
        let omitted = RuntimeConfig.invalidVariables(of: try ImageConfig(parsing: Array(text.utf8)))
        #expect(omitted == ["NOVALUE", "=x", "N=a\0b", ""])
    }

    @Test("Only strings of the image become annotations")
    func annotationTypes() throws {
        let config = try document(#"{"StopSignal": {"a": 1}, "Labels": {"a": 1, "b": null, "c": ["d"]}}"#)
        let annotations = try #require(config["annotations"]?.members)
        #expect(annotations.values.allSatisfy { $0.text != nil })
        #expect(annotations["a"] == nil && annotations["org.opencontainers.image.stopSignal"] == nil)
    }
}
