/// Which labels of an image become annotations of a bundle's `config.json`. The image spec's conversion.md asks for all of them,
/// but runtimes act on some annotations: those of an image that is not trusted must not reach them.
package enum AnnotationLabels: String, CaseIterable, Sendable {
    /// Those that no runtime is known to act on.
    case safe
    case all
    case none

    /// Whether a label of this name becomes an annotation.
    func includes(_ name: String) -> Bool {
        switch self {
        case .safe: !Self.steersRuntime(name)
        case .all: true
        case .none: false
        }
    }

    /// Whether a runtime, a shim or a hook acts on an annotation of this name. Compared by bytes, as runtimes do it; one that is
    /// written in C sees the name up to a NUL.
    static func steersRuntime(_ name: String) -> Bool {
        let bytes = Array(name.utf8.prefix { $0 != 0 })
        // A name of Kubernetes' form: DOMAIN, or DOMAIN/NAME.
        let domain = bytes.prefix { $0 != UInt8(ascii: "/") }
        return bytes.isEmpty || bytes == Array("bundle".utf8)
            || prefixes.contains { bytes.starts(with: $0.utf8) }
            || domains.contains { suffix in
                domain.elementsEqual(suffix.utf8)
                    || domain.reversed().starts(with: ".\(suffix)".utf8.reversed())
            }
    }

    private static let prefixes = [
        // Properties of the systemd unit that runc and crun start (runc: docs/systemd-properties.md).
        "org.systemd.property.",
        // A configuration file of CRIU's, for runc and crun.
        "org.criu.",
        // crun(1), "Extensions to OCI": handlers, files that the output of hooks goes to, seccomp, control groups.
        "run.oci.", "krun.", "module.wasm.",
        // CRI, CRI-O, and what acts on their annotations: crun, Kata, gVisor, containerd's shim.
        "io.kubernetes.", "io.containerd.",
        // Paths and parameters of hypervisors; Kata Containers under both of its names.
        "io.katacontainers.", "io.kata-containers.", "io.kuasar.", "com.urunc.", "io.microsoft.",
        // gVisor: flags of runsc, sources of mounts.
        "dev.gvisor.",
        // Podman and its hooks, e.g. io.containers.trace-syscall (a file to write).
        "io.containers.", "io.podman.",
    ]

    /// cdi.k8s.io/… gives devices of the host (CDI); NAME.crio.io and NAME.kubernetes.cri-o.io are CRI-O's, NAME.nri.io plugins'.
    private static let domains = [
        "k8s.io", "kubernetes.io", "containerd.io", "crio.io", "cri-o.io", "nri.io",
    ]
}
