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

    @OptionGroup var log: LogFormatOption

    func run() throws {
        try attempt {
            do throws(SyscallFailure) {
                try MountPerformer.unmount(FilePath(directory))
            } catch {
                guard error.errno == .invalidArgument else { throw error }
                throw UnpackError(.usage, "nothing is mounted on '\(escaped(directory.utf8))'")
            }
        }
    }
}
