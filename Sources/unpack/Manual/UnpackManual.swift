internal import Programs

/// What the pages of `unpack` say.
struct UnpackManual: ManualTexts {
    let section = 1

    let files = [
        ("\(ConfigurationFile.defaultPath)", "Settings, see unpack.toml(5)."),
        ("/var/lib/unpack", "The store, if no other is named; without root ~/.local/share/unpack."),
    ]

    func exitStatuses(of command: [String]) -> [(String, String)] {
        if command.last == "verify" {
            return [
                ("0", "Nothing is wrong."), ("1", "Damage was repaired."), ("4", "Damage is left."),
                ("8", "The work could not be done."), ("16", "The command line is wrong."),
                ("32", "It was interrupted."), ("64", "There is no such option, or a setting is wrong."),
            ]
        }
        if command.last == "run-in-namespace" {
            return [
                ("any", "The program's own; 128 and the signal that has ended it."),
                ("66", "There is no such program."), ("77", "There can be no user namespace."),
            ]
        }
        let difference = [("1", "With --exit-code: there is a difference.")]
        return (command.last == "diff" ? difference : []) + [
            ("0", "Done."), ("64", "The command line or a setting asks for what cannot be."),
            (
                "65",
                "The image is wrong: a digest, a size, a diff ID, an archive or JSON; or it is larger than allowed."
            ),
            ("66", "An image, reference, blob, chain or snapshot was not found."),
            ("69", "It is not possible here or not now."), ("70", "A bug of this program."),
            ("74", "Input or output failed, or there is no space left."),
            ("75", "The store's database stayed locked; try again."), ("77", "It is not permitted."),
            ("130, 143", "It was ended by SIGINT or SIGTERM."),
        ]
    }

    func examples(of command: [String]) -> [(String, String)] {
        Self.examples[command.dropFirst().joined(separator: " ")] ?? []
    }

    private static let examples: [String: [(String, String)]] = [
        "": [
            ("sudo $(sudo unpack image -q) /mnt", "Unpack the image of a layout, and mount it:"),
            ("unpack image:debian --rw job-1 --format json", "Everything about a writable root file system:"),
            ("unpack image --progress json 2>events", "Let a program watch:"),
            (
                "docker save debian:12 | unpack - --output rootfs",
                "One plain tree, of an archive that comes through a pipe:"
            ),
        ],
        "inspect": [
            ("unpack inspect image", "What is in a layout:"),
            ("unpack inspect image --platform linux/arm64 --json", "One platform, for a program:"),
        ],
        "ls": [
            ("unpack ls image:debian /etc", "One directory of an image:"),
            ("unpack ls image --recursive --json", "All of it, for a program:"),
        ],
        "why": [
            ("unpack why image:app /etc/motd", "Which layer has written a file, and which has removed it:")
        ],
        "diff": [
            ("unpack diff image:1.0 image:1.1", "What a new build has changed:"),
            ("unpack diff image job-1", "What a job has written:"),
        ],
        "run-in-namespace": [
            (
                "unpack run-in-namespace -- sh -c 'unpack mount image ~/rootfs && chroot ~/rootfs /bin/sh'",
                "A shell in an image, without root:"
            )
        ],
        "doctor": [("unpack doctor", "Before the first image, and when something is not permitted:")],
        "mount": [
            ("unpack mount image:debian /mnt", "Unpack an image, and mount it read-only:"),
            ("unpack mount image --rw job-1 /mnt", "The same, to be written to:"),
        ],
        "umount": [("unpack umount /mnt", "Unmount it again:")],
        "images": [("unpack images --json", "What was unpacked, for a program:")],
        "rm": [("unpack rm debian", "Forget an image, and the layers that nothing else needs:")],
        "prune": [("unpack prune --dry-run", "See what could go, and why:")],
        "verify": [
            ("unpack verify", "Everything in the store:"),
            ("unpack verify --repair image debian", "One image, unpacking damaged layers again:"),
        ],
        "config": [("UNPACK_JOBS=2 unpack config", "What holds, and who says so:")],
        "snapshot": [
            ("unpack snapshot prepare work", "An empty snapshot to fill:"),
            ("unpack snapshot commit base work", "Keep it, so that others can stand on it:"),
        ],
        "snapshot prepare": [("sudo $(unpack snapshot prepare work base) /mnt", "Write on top of another:")],
        "snapshot view": [("sudo $(unpack snapshot view look base) /mnt", "Look at it, and change nothing:")],
        "snapshot commit": [("unpack snapshot commit base work --label stage=1", "Keep what was written:")],
        "snapshot rm": [("unpack snapshot rm work base", "The upper first:")],
        "snapshot ls": [("unpack snapshot ls --filter 'kind==active'", "Those that can be written to:")],
        "snapshot tree": [("unpack snapshot tree", "What stands on what:")],
        "snapshot stat": [("unpack snapshot stat work --json", "All that is known of one:")],
        "snapshot usage": [("unpack snapshot usage", "What each of them takes:")],
        "snapshot mounts": [("sudo $(unpack snapshot mounts work) /mnt", "Mount one that exists:")],
        "snapshot label": [("unpack snapshot label work stage=2 old=", "Set a label, and remove another:")],
    ]

    func seeAlso(_ command: CommandTree) -> String {
        var pages = command.subcommands.map { "\($0.words.joined(separator: "-"))(1)" }
        if command.words.count > 1 { pages.append("\(command.words.dropLast().joined(separator: "-"))(1)") }
        return (pages + ["mount(8)", "skopeo(1)", "unpack.toml(5)"]).joined(separator: ", ")
    }
}
