internal import ArgumentParser
internal import Kernel
internal import Programs
internal import Unpacking

/// A command that must be root over the files that it handles: what an ordinary user types runs in a user namespace.
protocol NamespacedCommand: ParsableCommand {
    /// Whether this one is, as it was typed.
    var needsNamespace: Bool { get }
    /// What the person is told when it has ended well; nil for nothing.
    var farewell: String? { get }

    /// Runs the whole program again in a namespace, if that is what it takes.
    ///
    /// - Returns: its exit status; nil where this process can do it.
    func runElsewhere(_ arguments: [String]) throws -> Int32?
}

extension NamespacedCommand {
    var needsNamespace: Bool { true }
    var farewell: String? { nil }

    func runElsewhere(_ arguments: [String]) throws -> Int32? {
        guard needsNamespace, Process.effectiveUserID != 0 else { return nil }
        let status = try inNamespace { () throws(UserNamespace.Failure) in
            try UserNamespace.run(nil, arguments)
        }
        if status == 0, let farewell { Talk.say(farewell) }
        return status
    }
}

/// With the reasons why there may be no user namespace as errors of this program's.
func inNamespace<Result>(_ body: () throws(UserNamespace.Failure) -> Result) throws -> Result {
    do throws(UserNamespace.Failure) {
        return try body()
    } catch {
        if error.isProgram {
            throw UnpackError(.notFound, "\(error.cause)", hint: "name a program in PATH, or its path")
        }
        if error.cause.isRefusedProcess { throw UnpackError(error.cause) }
        let obstacle = UserNamespace.obstacle()
        let reason = obstacle.map { ": \($0.description)" } ?? ""
        throw UnpackError(
            .permission, "it takes root or a user namespace, and there can be none (\(error.cause))\(reason)",
            hint: (obstacle.map { $0.remedy + "; or " } ?? "")
                + "run it as root, e.g. with sudo; 'unpack doctor' tells more")
    }
}

/// Before a mount is performed: one in a namespace that goes with this process would be of no use.
func refuseMountOutsideNamespace() throws {
    guard !Privileges.current.canMount else { return }
    let isRoot = Process.effectiveUserID == 0
    throw UnpackError(
        .permission,
        isRoot
            ? "mounting needs CAP_SYS_ADMIN, which this root does not have"
            : "mounting needs root, or a namespace that stays",
        hint: isRoot
            ? "give it to the container (--privileged, or --cap-add SYS_ADMIN), or unpack with --output DIR"
            : "run it as root, or inside of 'unpack run-in-namespace -- sh'")
}
