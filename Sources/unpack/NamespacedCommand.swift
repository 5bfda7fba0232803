internal import ArgumentParser
internal import Kernel
internal import Programs
internal import Unpacking

/// A command that needs root privileges over its files. For an ordinary user it runs in a user namespace.
protocol NamespacedCommand: ParsableCommand {
    /// Whether the command needs them with its current arguments.
    var needsNamespace: Bool { get }
    /// Printed after the command has succeeded in a namespace; nil for nothing.
    var completionNote: String? { get }

    /// Runs the whole program again in a user namespace, if the command needs one.
    ///
    /// - Returns: the exit status of that run; nil if this process can run the command itself.
    func runElsewhere(_ arguments: [String]) throws -> Int32?
}

extension NamespacedCommand {
    var needsNamespace: Bool { true }
    var completionNote: String? { nil }

    func runElsewhere(_ arguments: [String]) throws -> Int32? {
        guard needsNamespace, Process.effectiveUserID != 0 else { return nil }
        let status = try inNamespace { () throws(UserNamespace.Failure) in
            try UserNamespace.run(nil, arguments)
        }
        if status == 0, let completionNote { Log.print(completionNote) }
        return status
    }
}

/// Maps a failure to create a user namespace, or to start a program in it, to an `UnpackError`.
func inNamespace<Result>(_ body: () throws(UserNamespace.Failure) -> Result) throws -> Result {
    do throws(UserNamespace.Failure) {
        return try body()
    } catch {
        if error.isExecFailure {
            throw UnpackError(.notFound, "\(error.cause)", hint: "name a program in PATH, or its path")
        }
        if case .system(let cause) = error.cause, cause.isProcessRefused { throw UnpackError(cause) }
        let restriction = UserNamespace.restriction()
        let reason = restriction.map { ": \($0.description)" } ?? ""
        throw UnpackError(
            .permission,
            "root or a user namespace is needed, and none can be created (\(error.cause))\(reason)",
            hint: (restriction.map { $0.remedy + "; or " } ?? "")
                + "run it as root, e.g. with sudo; 'unpack doctor' shows more")
    }
}

/// Throws if this process cannot mount in the namespace that it was started in. A mount in a namespace that the command
/// creates for itself would end with the command.
///
/// - Throws: `.permission`.
func refuseMountOutsideNamespace() throws {
    guard !Privileges.current.canMount else { return }
    let isRoot = Process.effectiveUserID == 0
    throw UnpackError(
        .permission,
        isRoot
            ? "mounting needs CAP_SYS_ADMIN, which this root does not have"
            : "mounting needs root, or a user namespace that outlives the command",
        hint: isRoot
            ? "give it to the container (--privileged, or --cap-add SYS_ADMIN), or unpack with --output DIR"
            : "run it as root, or inside 'unpack run-in-namespace -- sh'")
}
