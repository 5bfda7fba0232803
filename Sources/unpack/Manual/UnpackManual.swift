internal import Kernel
internal import Programs

/// The texts of the manual pages that are not in the commands' help.
struct UnpackManual: ManualTexts {
    let section = 1

    let files = [
        ("\(ConfigurationFile.defaultPath)", "Settings, see unpack.toml(5)."),
        ("/var/lib/unpack", "The default store; for users other than root ~/.local/share/unpack."),
    ]

    func chapters(of command: [String]) -> [(String, String)] {
        guard command == ["unpack"] else { return [] }
        let kernel =
            "Linux \(KernelRelease.minimum) or later. unpack-doctor(1) reports what needs a later one, and what else this machine lacks."
        return [("REQUIREMENTS", kernel)]
    }

    func exitStatuses(of command: [String]) -> [(String, String)] {
        if command.last == "verify" {
            return [
                ("0", "There is no damage."), ("1", "Damage was repaired."), ("4", "Damage remains."),
                ("8", "Operational error."), ("16", "Usage error."),
                ("32", "The verification was interrupted."),
                ("64", "An unknown option, or an invalid setting."),
            ]
        }
        if command.last == "run-in-namespace" {
            return [
                ("any", "The program's own, or 128 plus the number of the signal that ended it."),
                ("66", "The program is not found."), ("77", "No user namespace can be created."),
            ]
        }
        let difference = [("1", "With --exit-code: there is a difference.")]
        return (command.last == "diff" ? difference : []) + [
            ("0", "Success."), ("64", "The command line or a setting is invalid."),
            (
                "65",
                "The image is invalid: a digest, a size, a diff ID, an archive or JSON; or it is larger than allowed."
            ),
            ("66", "An image, reference, blob, chain or snapshot is not found."),
            ("69", "The operation is not possible on this machine or at this time."),
            ("70", "A bug of this program."),
            ("74", "An I/O error, or no space left."),
            ("75", "The store's database stayed locked; try again."),
            ("77", "The operation is not permitted."), ("130, 143", "Ended by SIGINT or SIGTERM."),
        ]
    }

    func examples(of command: [String]) -> [(String, String)] {
        Self.examples[command.dropFirst().joined(separator: " ")] ?? []
    }

    private static let examples: [String: [(String, String)]] = [
        "": [
            ("sudo $(sudo unpack image -q) /mnt", "Unpack the image of a layout, and mount it:"),
            (
                "unpack image:debian --rw job-1 --format json",
                "Print the complete result for a writable root file system:"
            ),
            ("unpack image --progress json 2>events", "Write progress for a program:"),
            (
                "docker save debian:12 | unpack - --output rootfs",
                "Unpack an archive from a pipe into one plain directory:"
            ),
        ],
        "inspect": [
            ("unpack inspect image", "Show the content of a layout:"),
            ("unpack inspect image --platform linux/arm64 --json", "Show one platform as JSON:"),
        ],
        "ls": [
            ("unpack ls image:debian /etc", "List one directory of an image:"),
            ("unpack ls image --recursive --json", "List all files as JSON:"),
        ],
        "cat": [("unpack cat image:debian /etc/os-release", "Print a file of an image:")],
        "cp": [("unpack cp image:debian:/usr/share/doc doc", "Copy a directory out of an image:")],
        "why": [
            ("unpack why image:app /etc/motd", "Show which layer wrote a file, and which removed it:")
        ],
        "diff": [
            ("unpack diff image:1.0 image:1.1", "Show what a new build changed:"),
            ("unpack diff image job-1", "Show what a job wrote:"),
        ],
        "run-in-namespace": [
            (
                "unpack run-in-namespace -- sh -c 'unpack mount image ~/rootfs && chroot ~/rootfs /bin/sh'",
                "Run a shell in an image, without root:"
            )
        ],
        "doctor": [("unpack doctor", "Check the machine before the first image, and after an error:")],
        "mount": [
            ("unpack mount image:debian /mnt", "Unpack an image, and mount it read-only:"),
            ("unpack mount image --rw job-1 /mnt", "Mount it writable:"),
        ],
        "umount": [("unpack umount /mnt", "Unmount it again:")],
        "images": [("unpack images --json", "List the images as JSON:")],
        "rm": [("unpack rm debian", "Remove an image, and the layers that nothing else needs:")],
        "prune": [("unpack prune --dry-run", "Show what would be removed, and why:")],
        "verify": [
            ("unpack verify", "Verify everything in the store:"),
            ("unpack verify --repair image debian", "Verify one image, and unpack its damaged layers again:"),
        ],
        "config": [("UNPACK_JOBS=2 unpack config", "Show the settings and their sources:")],
        "snapshot": [
            ("unpack snapshot prepare work", "Create an empty snapshot:"),
            ("unpack snapshot commit base work", "Commit it, so that it can be a parent:"),
        ],
        "snapshot prepare": [
            ("sudo $(unpack snapshot prepare work base) /mnt", "Write on top of another snapshot:")
        ],
        "snapshot view": [("sudo $(unpack snapshot view look base) /mnt", "Mount a snapshot read-only:")],
        "snapshot commit": [
            ("unpack snapshot commit base work --label stage=1", "Commit a snapshot with a label:")
        ],
        "snapshot rm": [("unpack snapshot rm work base", "Remove a snapshot and then its parent:")],
        "snapshot ls": [("unpack snapshot ls --filter 'kind==active'", "List the writable snapshots:")],
        "snapshot tree": [("unpack snapshot tree", "Show parents and children:")],
        "snapshot stat": [("unpack snapshot stat work --json", "Show the record of a snapshot:")],
        "snapshot usage": [("unpack snapshot usage", "Show the disk usage of all snapshots:")],
        "snapshot mounts": [("sudo $(unpack snapshot mounts work) /mnt", "Mount an existing snapshot:")],
        "snapshot label": [
            ("unpack snapshot label work stage=2 old=", "Set a label, and remove another label:")
        ],
    ]

    func seeAlso(_ command: CommandTree) -> String {
        var pages = command.subcommands.map { "\($0.words.joined(separator: "-"))(1)" }
        if command.words.count > 1 { pages.append("\(command.words.dropLast().joined(separator: "-"))(1)") }
        return (pages + ["mount(8)", "skopeo(1)", "unpack.toml(5)"]).joined(separator: ", ")
    }
}
