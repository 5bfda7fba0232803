internal import Programs

/// What unpack-snapshotter(8) says beside `--help`.
struct SnapshotterManual: ManualTexts {
    let section = 8

    let settings: [any AnySetting] = [
        Settings.snapshotter, Settings.root, Settings.sync, Settings.logFormat,
    ]

    let files = [
        ("/run/unpack/snapshotter.sock", "The socket, if no other is named."),
        ("/var/lib/unpack", "The store, if no other is named; unpack(1) has the same."),
        ("\(ConfigurationFile.defaultPath)", "Settings of both programs, see unpack.toml(5)."),
        ("/etc/containerd/config.toml", "Where containerd is told of the socket."),
    ]

    func chapters(of command: [String]) -> [(String, String)] {
        [
            (
                "CONTAINERD",
                """
                containerd's configuration names the socket:

                  [proxy_plugins.unpack]
                    type = "snapshot"
                    address = "/run/unpack/snapshotter.sock"

                The name is a NAME of --snapshotter; it is what ctr(8) and the others ask for with their own --snapshotter. \
                containerd 2 has its layers applied here, too, and its own differ takes those of another kind. An older one does \
                not start with this:

                  [proxy_plugins.unpack-diff]
                    type = "diff"
                    address = "/run/unpack/snapshotter.sock"
                  [plugins."io.containerd.service.v1.diff-service"]
                    default = ["unpack-diff", "walking"]

                docs/containerd.md of the sources, which Debian's package has in /usr/share/doc/unpack-snapshotter, has whole \
                configurations, for Kubernetes and the transfer service as well.
                """
            ),
            (
                "SYSTEMD",
                """
                unpack-snapshotter.socket listens from the boot on, and starts unpack-snapshotter.service when somebody \
                connects. While the service is restarted, calls wait. Debian's package enables the socket alone: nothing runs \
                before containerd asks. Options are given by an override, systemctl edit \
                unpack-snapshotter:

                  [Service]
                  ExecStart=
                  ExecStart=/usr/bin/unpack-snapshotter --snapshotter unpack=native

                It serves on the socket that systemd hands over, whatever --address says: another one is an override of \
                ListenStream= in unpack-snapshotter.socket.
                """
            ),
            (
                "SIGNALS",
                """
                After SIGTERM or SIGINT new calls are refused, those that run are answered, and the program ends when clients \
                have read their answers, at the latest five seconds after the last call. A second signal ends it at once. \
                What is cut off, even by SIGKILL, leaves nothing behind that the next start does not remove.
                """
            ),
        ]
    }

    func exitStatuses(of command: [String]) -> [(String, String)] {
        [
            ("0", "It was told to stop, and all calls were answered."),
            ("64", "The command line or a setting asks for what cannot be."),
            (
                "69",
                "It is not possible here: another process listens, or the file system cannot hold layers."
            ),
            ("70", "A bug of this program."), ("74", "Input or output failed, or there is no space left."),
            ("75", "The store's database stayed locked; try again."), ("77", "It is not permitted."),
            ("130, 143", "It was ended by a second SIGINT or SIGTERM."),
        ]
    }

    func examples(of command: [String]) -> [(String, String)] {
        [
            (
                "unpack-snapshotter --root /srv/unpack --snapshotter unpack=overlayfs --snapshotter copies=native",
                "Two snapshotters of one store:"
            ),
            ("ctr image pull --snapshotter unpack docker.io/library/debian:12", "Pull an image into it:"),
            ("unpack snapshot ls", "What containerd has in it:"),
        ]
    }

    func seeAlso(_ command: CommandTree) -> String {
        "unpack(1), unpack.toml(5), containerd(8), ctr(8), systemd.socket(5)"
    }
}
