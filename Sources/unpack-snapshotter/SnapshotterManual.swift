internal import Programs

/// The texts of unpack-snapshotter(8) that `--help` does not contain.
struct SnapshotterManual: ManualTexts {
    let section = 8

    let settings: [any AnySetting] = [
        Settings.snapshotter, Settings.root, Settings.pool, Settings.size, Settings.fileSystem, Settings.sync,
        Settings.logFormat,
    ]

    let files = [
        ("/run/unpack/snapshotter.sock", "The default socket."),
        ("/var/lib/unpack", "The default store, the same as that of unpack(1)."),
        ("\(ConfigurationFile.defaultPath)", "Settings of both programs, see unpack.toml(5)."),
        ("/etc/containerd/config.toml", "containerd's configuration, which names the socket."),
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

                The name of the plugin is a NAME of --snapshotter. Clients such as ctr(8) select it with an option --snapshotter of \
                their own. containerd 2 can also use the server to apply layers, and falls back to its own differ for media types \
                that the server does not know. Older versions do not start with these lines:

                  [proxy_plugins.unpack-diff]
                    type = "diff"
                    address = "/run/unpack/snapshotter.sock"
                  [plugins."io.containerd.service.v1.diff-service"]
                    default = ["unpack-diff", "walking"]

                docs/containerd.md in the source tree (/usr/share/doc/unpack-snapshotter in Debian's package) has complete \
                configurations, also for Kubernetes and the transfer service.
                """
            ),
            (
                "SYSTEMD",
                """
                unpack-snapshotter.socket listens from boot, and starts unpack-snapshotter.service when a client connects. \
                While the service restarts, calls wait. Debian's package enables only the socket: the service does not run \
                before containerd connects. Options are set with an override, systemctl edit \
                unpack-snapshotter:

                  [Service]
                  ExecStart=
                  ExecStart=/usr/bin/unpack-snapshotter --snapshotter unpack=native

                The server uses the socket that systemd passes, whatever --address says: for another one, override \
                ListenStream= in unpack-snapshotter.socket.
                """
            ),
            (
                "SIGNALS",
                """
                After SIGTERM or SIGINT the server refuses new calls and answers those that run. It exits when clients have read \
                their answers, at the latest five seconds after the last call. A second signal ends it at once. The next start \
                removes what an interrupted call has left, even after SIGKILL.
                """
            ),
        ]
    }

    func exitStatuses(of command: [String]) -> [(String, String)] {
        [
            ("0", "The server was asked to stop, and has answered all calls."),
            ("64", "The command line or a setting is invalid."),
            (
                "69",
                "The server cannot run here: another process listens, or the file system cannot hold layers."
            ),
            ("70", "A bug of this program."), ("74", "Input or output failed, or there is no space left."),
            ("75", "The store's database stayed locked; try again."), ("77", "Permission was denied."),
            ("130, 143", "A second SIGINT or SIGTERM ended the server."),
        ]
    }

    func examples(of command: [String]) -> [(String, String)] {
        [
            (
                "unpack-snapshotter --root /srv/unpack --snapshotter unpack=overlayfs --snapshotter copies=native",
                "Two snapshotters of one store:"
            ),
            ("ctr image pull --snapshotter unpack docker.io/library/debian:12", "Pull an image into it:"),
            ("unpack snapshot ls", "List the snapshots in the store:"),
        ]
    }

    func seeAlso(_ command: CommandTree) -> String {
        "unpack(1), unpack.toml(5), containerd(8), ctr(8), systemd.socket(5)"
    }
}
