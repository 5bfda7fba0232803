internal import ArgumentParser
internal import Mounts
internal import Programs
internal import SystemPackage
internal import Unpacking

/// How a command prints mounts: as one line for a shell, or as containerd's JSON.
struct MountOptions: ParsableArguments {
    @Option(
        help: ArgumentHelp("Where it will be mounted; printed into the line.", valueName: "dir"),
        completion: .directory)
    var target: String?

    @Flag(help: "Print the mounts as JSON, as containerd has them.")
    var json = false

    /// Before any work: a line that cannot be printed is no surprise for the end of it.
    func check(in store: StoreOptions) throws {
        if json { return }
        let target = try target.map { try absolutePath($0, of: "--target") }
        try attempt { try MountLine.check([try store.rootPath()] + (target.map { [$0] } ?? [])) }
    }

    /// - Parameter key: the snapshot's, for a line that has this program mount it.
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
