internal import ArgumentParser
internal import Kernel
internal import Programs
internal import Unpacking

/// A program, and all that it starts, where an ordinary user's store can be mounted.
struct RunInNamespaceCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "run-in-namespace", abstract: "Run a program where an ordinary user may mount.",
        usage: "unpack run-in-namespace [--] [PROGRAM [ARGUMENT ...]]",
        discussion: """
            The program is root of a user namespace of its own, with mounts of its own that end with it: the namespace in which \
            an ordinary user's images are unpacked. Subordinate ids are used where /etc/subuid and /etc/subgid give them \
            (newuidmap of the package uidmap), else there is one id, and all other owners are kept in user.rootlesscontainers. \
            Root runs the program as it is. Without PROGRAM it is $SHELL.

              line=$(unpack IMAGE --target ~/rootfs)
              unpack run-in-namespace -- sh -c "$line && chroot ~/rootfs /bin/sh"

            Exit status: the program's; 66 if there is none; 77 if there can be no namespace.
            """)

    @Argument(parsing: .captureForPassthrough, help: "The program, and what it is given.")
    var words: [String] = []

    func run() throws {
        // What is passed on is not looked at by the parser.
        if words.first == "--help" || words.first == "-h" { throw CleanExit.helpRequest(self) }
        let words = words.first == "--" ? Array(words.dropFirst()) : words
        let program = words.first ?? environment("SHELL") ?? "/bin/sh"
        if Process.effectiveUserID == 0 {
            try attempt { try Process.become(program, Array(words.dropFirst())) }
        }
        let status = try inNamespace { () throws(UserNamespace.Failure) in
            try UserNamespace.run(program, Array(words.dropFirst()))
        }
        throw ExitCode(status)
    }
}
