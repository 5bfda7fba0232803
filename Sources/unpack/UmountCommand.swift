internal import ArgumentParser
internal import Kernel
internal import Mounts
internal import Programs
internal import SystemPackage
internal import Unpacking

struct UmountCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "umount", abstract: "Unmount what is mounted on a directory.")

    @Argument(help: ArgumentHelp("The directory.", valueName: "dir"), completion: .directory)
    var directory: String

    @Flag(
        name: [.customShort("l"), .long],
        help: "Detach the mount now, although it is in use; the kernel ends it with its last use.")
    var lazy = false

    @OptionGroup(title: "Messages") var log: LogFormatOption

    func run() throws {
        let target = FilePath(directory)
        try attempt {
            do throws(SyscallFailure) {
                try MountPerformer.unmount(target, lazily: lazy)
            } catch {
                switch error.errno {
                case .invalidArgument:
                    throw UnpackError(.usage, "nothing is mounted on '\(escaped(directory.utf8))'")
                case .resourceBusy: throw inUse(target)
                default: throw error
                }
            }
        }
    }

    /// The error for a mount that is in use, with the processes that use it and the mounts below it.
    private func inUse(_ target: FilePath) -> UnpackError {
        let path = (try? target.resolved()) ?? target
        let processes = ((try? ProcessUse.all(in: path)) ?? []).map { "\($0.name), process \($0.id)" }
        let mounts = ((try? MountTable.read().targets(below: path)) ?? []).map { "a mount on \(escaped($0))" }
        let users = mounts + processes
        let shown = users.prefix(Self.maximumUsers).map { escaped($0.utf8) }
        let more = users.count > shown.count ? ["and \(users.count - shown.count) more"] : []
        return UnpackError(
            .busy, "'\(escaped(directory.utf8))' is in use" + (users.isEmpty ? "" : ":"), list: shown + more,
            hint: "end that and try again, or detach it with 'unpack umount --lazy'")
    }

    private static let maximumUsers = 10
}
