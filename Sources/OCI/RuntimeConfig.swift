/// `config.json` of a runtime bundle (OCI runtime spec 1.0), converted from an image config as in the image spec's
/// conversion.md. Everything that this leaves open is as in containerd's default spec.
package enum RuntimeConfig {
    /// - Parameters:
    ///   - rootfs: path of the root file system, relative to the bundle.
    ///   - user: the resolved `config.User`.
    ///   - labels: the image labels that become annotations.
    ///   - hasTerminalGroup: whether group 5 exists, which owns terminals.
    package static func document(
        of config: ImageConfig, rootfs: String, isReadOnly: Bool, user: ContainerUser,
        labels: AnnotationLabels, hasTerminalGroup: Bool = true
    ) -> JSONValue {
        let runtimeSettings = config.runtimeSettings
        let entrypoint = runtimeSettings?["Entrypoint"]?.texts ?? []
        let arguments = entrypoint + (runtimeSettings?["Cmd"]?.texts ?? [])
        var environment = variables(of: config).filter(isVariable)
        if !environment.contains(where: { $0.utf8.starts(with: "PATH=".utf8) }) {
            environment.append("PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
        }
        let folder = runtimeSettings?["WorkingDir"]?.text ?? ""
        var process: [String: JSONValue] = [
            "terminal": false, "cwd": .string(folder.utf8.first == UInt8(ascii: "/") ? folder : "/" + folder),
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

    /// The entries of `Env` that runc rejects (libcontainer/env.go): without a name, without `=`, or with a NUL. They
    /// are omitted from the document.
    package static func invalidVariables(of config: ImageConfig) -> [String] {
        variables(of: config).filter { !isVariable($0) }
    }

    private static func variables(of config: ImageConfig) -> [String] {
        config.runtimeSettings?["Env"]?.texts ?? []
    }

    private static func isVariable(_ text: String) -> Bool {
        guard let equals = text.utf8.firstIndex(of: UInt8(ascii: "=")) else { return false }
        return equals > text.startIndex && !text.utf8.contains(0)
    }

    /// Names of the image labels that `safe` omits because a runtime would act on them, sorted.
    package static func reservedLabels(of config: ImageConfig) -> [String] {
        labels(of: config).keys.filter(AnnotationLabels.steersRuntime).sorted()
    }

    private static func labels(of config: ImageConfig) -> [String: JSONValue] {
        (config.runtimeSettings?["Labels"]?.members ?? [:]).filter { $0.value.text != nil }
    }

    /// The annotations of conversion.md ("Annotation Fields" and "Config.ExposedPorts"); labels of the image take
    /// precedence.
    private static func annotations(_ config: ImageConfig, _ choice: AnnotationLabels) -> JSONValue {
        let platform = config.declaredPlatform
        let fields = [
            "os": platform.os, "architecture": platform.architecture, "variant": platform.variant,
            "os.version": platform.osVersion, "os.features": platform.osFeatures?.joined(separator: ","),
            "author": config.author, "created": config.created,
            "stopSignal": config.runtimeSettings?["StopSignal"]?.text,
            "exposedPorts": config.runtimeSettings?["ExposedPorts"]?.members?.keys.sorted().joined(
                separator: ","),
        ]
        var annotations = [String: JSONValue]()
        for case (let name, let text?) in fields where !text.isEmpty {
            annotations["org.opencontainers.image." + name] = .string(text)
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
