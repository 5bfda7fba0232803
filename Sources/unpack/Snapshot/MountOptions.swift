internal import ArgumentParser
internal import Mounts
internal import Programs
internal import SystemPackage
internal import Unpacking

/// The options for printing mounts: as one line for a shell, as JSON, or as containerd's JSON.
struct MountOptions: ParsableArguments {
    @Option(
        help: ArgumentHelp("The mount point to put into the printed line.", valueName: "dir"),
        completion: .directory)
    var target: String?

    @OptionGroup var output: SnapshotOutput

    /// Checks before any work whether the root and the target can stand in a mount line.
    ///
    /// - Throws: `.usage` if not.
    func check(in store: StoreOptions) throws {
        if output.chosen() != .text { return }
        let target = try target.map { try absolutePath($0, of: "--target") }
        try attempt { try MountLine.check([try store.rootPath()] + (target.map { [$0] } ?? [])) }
    }

    /// - Parameter key: of the snapshot, for a line that runs `unpack mount`.
    /// - Throws: `.usage` for a key, a root or a target that cannot stand in a line.
    func text(of mounts: [Mount], _ key: String, in store: StoreOptions) throws -> String {
        let target = try target.map { try absolutePath($0, of: "--target") }
        switch output.chosen() {
        case .json: return try attempt { try encoded(MountDocument.all(mounts, target: target)) }
        case .containerd: return try attempt { try ContainerdMounts(mounts, target: target).text }
        case .text:
            let performed = try store.performedMount(of: key)
            return try attempt {
                try MountLine(
                    mounts, form: .ofThisKernel, target: target, performed: try performed.words
                ).text
            }
        }
    }
}
