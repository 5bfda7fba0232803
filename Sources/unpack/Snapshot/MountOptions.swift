internal import ArgumentParser
internal import Mounts
internal import Programs
internal import SystemPackage
internal import Unpacking

/// The options for printing mounts: as one line for a shell, or as containerd's JSON.
struct MountOptions: ParsableArguments {
    @Option(
        help: ArgumentHelp("The mount point to put into the printed line.", valueName: "dir"),
        completion: .directory)
    var target: String?

    @Flag(help: "Print the mounts as containerd's JSON.")
    var json = false

    /// Checks before any work whether the root and the target can stand in a mount line.
    ///
    /// - Throws: `.usage` if not.
    func check(in store: StoreOptions) throws {
        if json { return }
        let target = try target.map { try absolutePath($0, of: "--target") }
        try attempt { try MountLine.check([try store.rootPath()] + (target.map { [$0] } ?? [])) }
    }

    /// - Parameter key: of the snapshot, for a line that runs `unpack mount`.
    /// - Throws: `.usage` for a key, a root or a target that cannot stand in a line.
    func text(of mounts: [Mount], _ key: String, in store: StoreOptions) throws -> String {
        let target = try target.map { try absolutePath($0, of: "--target") }
        if json {
            return try attempt { try ContainerdMounts(mounts, target: target).text }
        }
        let performed = try store.performedMount(of: key)
        return try attempt {
            try MountLine(
                mounts, form: .ofThisKernel, target: target, performed: try performed.words
            ).text
        }
    }
}
