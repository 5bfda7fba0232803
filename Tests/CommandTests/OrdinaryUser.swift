import Foundation
import Kernel
import SystemPackage
import TestSupport
import Testing

/// Runs the program as a user other than root, with a home directory and a mount namespace of its own.
struct OrdinaryUser {
    /// The IDs that the user can map: a range in /etc/subuid and /etc/subgid, or only its own.
    enum IDs: String, CaseIterable {
        case subordinate, single
    }

    private static let uid = 4242
    private static let name = "ordinary"

    let ids: IDs
    let home: FilePath
    private let scratch: TemporaryDirectory
    /// A script that runs first, as root, in the mount namespace.
    private let prelude: String

    /// - Parameter prelude: additional commands of the script.
    init(_ ids: IDs, prelude: String = "") throws {
        self.ids = ids
        scratch = try TemporaryDirectory(in: #require(TestEnvironment.scratch))
        home = try scratch.makeDirectory("home")
        // A copy, because other users may not be able to read the build directory.
        try Command.run("cp", Program.path.string, scratch.path.appending("unpack").string).succeed()
        try Command.run("cp", "-r", Program.fixtures.appending("busybox").string, home.string).succeed()
        let line = "\(Self.name):x:\(Self.uid):\(Self.uid)::\(home):/bin/sh\n"
        let passwd = try Data(contentsOf: URL(fileURLWithPath: "/etc/passwd"))
        _ = try scratch.write("passwd", Array(passwd) + Array(line.utf8))
        _ = try scratch.write("ids", Array((ids == .subordinate ? "\(Self.name):200000:65536\n" : "").utf8))
        try Command.run("chown", "-R", "\(Self.uid):\(Self.uid)", home.string).succeed()
        try Command.run("chmod", "-R", "a+rX", scratch.path.string).succeed()
        let folder = scratch.path
        self.prelude = """
            mount --bind \(folder)/passwd /etc/passwd
            for file in /etc/subuid /etc/subgid; do [ -e $file ] || : > $file; mount --bind \(folder)/ids $file; done
            \(prelude)
            """
    }

    /// A prelude that forbids user namespaces to the user, by an enclosing user namespace with a limit of 0.
    static let withoutNamespaces = """
        go=$(mktemp -u); mkfifo $go
        inside='echo 0 > /proc/sys/user/max_user_namespaces; exec env -i "$@"'
        # A process is root in the namespace if it calls exec after the maps are written.
        unshare --user sh -ec 'read x < $0; exec sh -ec "$@"' $go "$inside" sh "$@" &
        until [ "$(readlink /proc/$!/ns/user)" != "$(readlink /proc/self/ns/user)" ]; do sleep 0.01; done
        for map in uid_map gid_map; do echo 0 0 100000 > /proc/$!/$map; done
        echo > $go; rm $go; status=0; wait $! || status=$?; exit $status
        """

    private func words(_ arguments: [String]) -> [String] {
        let environment = [
            "PATH=\(scratch.path):\(ProcessInfo.processInfo.environment["PATH"] ?? "/usr/bin:/bin")",
            "HOME=\(home)",
        ]
        let user = ["setpriv", "--reuid=\(Self.uid)", "--regid=\(Self.uid)", "--clear-groups"]
        return ["unshare", "-m", "sh", "-ec", "\(prelude)\nexec env -i \"$@\"", "sh"] + environment + user
            + arguments
    }

    /// Runs a command as the user, with `unpack` in PATH.
    func run(_ arguments: String..., input: [UInt8] = []) throws -> Command {
        try run(arguments, input: input)
    }

    func run(_ arguments: [String], input: [UInt8] = []) throws -> Command {
        try Command.run(words(arguments), input: input, in: home, timeout: 120)
    }

    func start(_ arguments: String...) throws -> RunningCommand {
        try RunningCommand(words(arguments), in: home)
    }

    /// Runs a script in the user's namespace.
    func inNamespace(_ script: String) throws -> Command {
        try run("unpack", "run-in-namespace", "--", "sh", "-ec", script)
    }

    var store: FilePath { home.appending(".local/share/unpack") }

    func makeDirectory(_ name: String) throws -> FilePath {
        let path = home.appending(name)
        try run("mkdir", path.string).succeed()
        return path
    }
}

extension TestEnvironment {
    /// Whether ordinary users can create namespaces on this machine, and tests can run as one.
    ///
    /// False under ThreadSanitizer: it starts a thread before `main`, and a process with several threads cannot enter a
    /// user namespace (unshare(2)).
    static let canBeOrdinary: Bool = {
        guard dlsym(nil, "__tsan_init") == nil else { return false }
        let tools = ["setpriv", "newuidmap", "unshare"].allSatisfy {
            (try? Command.run("sh", "-c", "command -v \($0)").succeed()) != nil
        }
        return tools && canMountOverlay
            && (try? Command.run(
                "setpriv", "--reuid=4242", "--regid=4242", "--clear-groups", "unshare", "-Ur", "true"
            ).succeed()) != nil
    }()
}
