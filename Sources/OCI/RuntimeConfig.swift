/// `config.json` of a runtime bundle (OCI runtime spec 1.0), made from an image's config by the image spec's conversion.md. What
/// that leaves open is as in containerd's default.
package enum RuntimeConfig {
    /// - Parameters:
    ///   - rootfs: where the root file system will be mounted, relative to the bundle.
    ///   - user: whom `config.User` means.
    ///   - labels: which of the image's labels become annotations.
    ///   - hasTerminalGroup: whether there is a group 5, which terminals are given to.
    package static func document(
        of config: ImageConfig, rootfs: String, isReadOnly: Bool, user: ContainerUser,
        labels: AnnotationLabels, hasTerminalGroup: Bool = true
    ) -> JSONValue {
        let execution = config.execution
        let entrypoint = execution?["Entrypoint"]?.texts ?? []
        let arguments = entrypoint + (execution?["Cmd"]?.texts ?? [])
        var environment = execution?["Env"]?.texts ?? []
        if !environment.contains(where: { $0.hasPrefix("PATH=") }) {
            environment.append("PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
        }
        let folder = execution?["WorkingDir"]?.text ?? ""
        var process: [String: JSONValue] = [
            "terminal": false, "cwd": .string(folder.hasPrefix("/") ? folder : "/" + folder),
            "args": JSONValue(arguments.isEmpty ? ["sh"] : arguments), "env": JSONValue(environment),
            "user": userDocument(user), "noNewPrivileges": true,
            "rlimits": [["type": "RLIMIT_NOFILE", "hard": 1024, "soft": 1024]],
        ]
        let sets = ["bounding", "effective", "permitted"].map { ($0, JSONValue(capabilities)) }
        process["capabilities"] = .object(Dictionary(sets) { $1 })
        return [
            "ociVersion": "1.0.2", "process": .object(process),
            "root": ["path": .string(rootfs), "readonly": .bool(isReadOnly)],
            "mounts": mounts(hasTerminalGroup), "annotations": annotations(config, labels),
            "linux": [
                "namespaces": .array(
                    ["pid", "ipc", "uts", "mount", "network", "cgroup"].map { ["type": .string($0)] }),
                "resources": ["devices": [["allow": false, "access": "rwm"]]],
                "maskedPaths": JSONValue(maskedPaths), "readonlyPaths": JSONValue(readOnlyPaths),
            ],
        ]
    }

    private static func userDocument(_ user: ContainerUser) -> JSONValue {
        var members: [String: JSONValue] = [
            "uid": .integer(Int64(user.uid)), "gid": .integer(Int64(user.gid)),
        ]
        if !user.additionalGroups.isEmpty {
            members["additionalGids"] = .array(user.additionalGroups.map { .integer(Int64($0)) })
        }
        return .object(members)
    }

    /// Names of the image's labels that `safe` leaves out, because a runtime would act on them; sorted.
    package static func steeringLabels(of config: ImageConfig) -> [String] {
        labels(of: config).keys.filter(AnnotationLabels.steersRuntime).sorted()
    }

    private static func labels(of config: ImageConfig) -> [String: JSONValue] {
        (config.execution?["Labels"]?.members ?? [:]).filter { $0.value.text != nil }
    }

    /// conversion.md, "Annotation Fields"; the image's own labels win.
    private static func annotations(_ config: ImageConfig, _ choice: AnnotationLabels) -> JSONValue {
        let prefix = "org.opencontainers.image."
        var annotations: [String: JSONValue] = [
            prefix + "os": .string(config.platform.os),
            prefix + "architecture": .string(config.platform.architecture),
        ]
        annotations[prefix + "variant"] = config.platform.variant.map { .string($0) }
        annotations[prefix + "created"] = config.created.map { .string($0) }
        annotations[prefix + "stopSignal"] = config.execution?["StopSignal"]?.text.map { .string($0) }
        if let ports = config.execution?["ExposedPorts"]?.members?.keys, !ports.isEmpty {
            annotations[prefix + "exposedPorts"] = .string(ports.sorted().joined(separator: ","))
        }
        return .object(annotations.merging(labels(of: config).filter { choice.includes($0.key) }) { $1 })
    }

    private static let capabilities = [
        "CHOWN", "DAC_OVERRIDE", "FSETID", "FOWNER", "MKNOD", "NET_RAW", "SETGID", "SETUID", "SETFCAP",
        "SETPCAP",
        "NET_BIND_SERVICE", "SYS_CHROOT", "KILL", "AUDIT_WRITE",
    ].map { "CAP_" + $0 }

    private static func mounts(_ hasTerminalGroup: Bool) -> JSONValue {
        let group = hasTerminalGroup ? ["gid=5"] : []
        return [
            mount("/proc", "proc", ["nosuid", "noexec", "nodev"]),
            mount("/dev", "tmpfs", ["nosuid", "strictatime", "mode=755", "size=65536k"]),
            mount(
                "/dev/pts", "devpts",
                ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"] + group),
            mount(
                "/dev/shm", "tmpfs", ["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"], source: "shm"),
            mount("/dev/mqueue", "mqueue", ["nosuid", "noexec", "nodev"]),
            mount("/sys", "sysfs", ["nosuid", "noexec", "nodev", "ro"]),
            mount("/sys/fs/cgroup", "cgroup", ["nosuid", "noexec", "nodev", "relatime", "ro"]),
            mount("/run", "tmpfs", ["nosuid", "strictatime", "mode=755", "size=65536k"]),
        ]
    }

    private static func mount(
        _ target: String, _ type: String, _ options: [String], source: String? = nil
    ) -> JSONValue {
        [
            "destination": .string(target), "type": .string(type), "source": .string(source ?? type),
            "options": JSONValue(options),
        ]
    }

    private static let maskedPaths = [
        "/proc/acpi", "/proc/asound", "/proc/kcore", "/proc/keys", "/proc/latency_stats", "/proc/timer_list",
        "/proc/timer_stats", "/proc/sched_debug", "/sys/firmware", "/proc/scsi",
    ]
    private static let readOnlyPaths = [
        "/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger",
    ]
}
