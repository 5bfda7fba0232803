internal import ArgumentParser
internal import Kernel
internal import Programs
internal import Unpacking

/// Runs a program in a user and mount namespace in which an ordinary user's store can be mounted.
struct RunInNamespaceCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "run-in-namespace",
        abstract: "Run a program where an ordinary user can mount.",
        discussion: """
            The program is root in a new user namespace, of the kind in which an ordinary user's images are unpacked. It also \
            has a mount namespace of its own, whose mounts end with it. Subordinate IDs are mapped if /etc/subuid and \
            /etc/subgid assign them (needs newuidmap, package uidmap); otherwise one ID is mapped, and all other owners are \
            kept in the attribute user.rootlesscontainers. For root the program runs without a new namespace. The default for \
            PROGRAM is $SHELL, else /bin/sh.

              line=$(unpack IMAGE --target ~/rootfs)
              unpack run-in-namespace -- sh -c "$line && chroot ~/rootfs /bin/sh"

            Exit status: the program's; 66 if the program is not found; 77 if no namespace can be created.
            """)

    @Argument(parsing: .captureForPassthrough, help: "The program and its arguments.")
    var words: [String] = []

    func run() throws {
        let words = words.first == "--" ? Array(words.dropFirst()) : words
        let program = words.first ?? environment("SHELL") ?? "/bin/sh"
        if Process.effectiveUserID == 0 {
            try attempt { try Process.execute(program, Array(words.dropFirst())) }
        }
        let status = try inNamespace { () throws(UserNamespace.Failure) in
            try UserNamespace.run(program, Array(words.dropFirst()))
        }
        throw ExitCode(status)
    }
}
