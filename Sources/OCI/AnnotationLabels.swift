/// Which labels of an image become annotations in a bundle's `config.json`. The image spec (conversion.md) converts
/// all of them, but runtimes act on some annotations, and an untrusted image must not control the runtime.
package enum AnnotationLabels: String, CaseIterable, Sendable {
    /// Labels that no known runtime acts on.
    case safe
    case all
    case none

    func includes(_ name: String) -> Bool {
        switch self {
        case .safe: !Self.steersRuntime(name)
        case .all: true
        case .none: false
        }
    }

    /// Whether a runtime, a shim or a hook acts on an annotation of this name. Names are compared as bytes, as
    /// runtimes do; a runtime written in C sees the name up to the first NUL.
    static func steersRuntime(_ name: String) -> Bool {
        let bytes = Array(name.utf8.prefix { $0 != 0 })
        // A Kubernetes-style name: DOMAIN, or DOMAIN/NAME.
        let domain = bytes.prefix { $0 != UInt8(ascii: "/") }
        return bytes.isEmpty || bytes == Array("bundle".utf8)
            || prefixes.contains { bytes.starts(with: $0.utf8) }
            || domains.contains { suffix in
                domain.elementsEqual(suffix.utf8)
                    || domain.reversed().starts(with: ".\(suffix)".utf8.reversed())
            }
    }

    private static let prefixes = [
        // systemd unit properties set by runc and crun (runc: docs/systemd-properties.md).
        "org.systemd.property.",
        // CRIU configuration files, for runc and crun.
        "org.criu.",
        // crun(1), "Extensions to OCI": handlers, output files of hooks, seccomp, control groups.
        "run.oci.", "krun.", "module.wasm.",
        // CRI, CRI-O, and runtimes that act on their annotations: crun, Kata, gVisor, containerd's shim.
        "io.kubernetes.", "io.containerd.",
        // Hypervisor paths and parameters; both spellings of Kata Containers.
        "io.katacontainers.", "io.kata-containers.", "io.kuasar.", "com.urunc.", "io.microsoft.",
        // gVisor: runsc flags and mount sources.
        "dev.gvisor.",
        // Podman and its hooks, e.g. io.containers.trace-syscall (a file to write).
        "io.containers.", "io.podman.",
    ]

    /// cdi.k8s.io/… grants access to host devices (CDI); NAME.crio.io and NAME.kubernetes.cri-o.io belong to CRI-O,
    /// NAME.nri.io to NRI plugins.
    private static let domains = [
        "k8s.io", "kubernetes.io", "containerd.io", "crio.io", "cri-o.io", "nri.io",
    ]
}
