package import Kernel
package import SystemPackage

/// Performs a mount, and looks whether what is mounted is what was asked for.
package enum MountPerformer {
    package enum Failure: Error, Sendable {
        case system(SyscallFailure)
        /// More layers than this kernel takes in any form.
        case tooManyLayers(count: Int)
        /// The upper directory is somebody's already: two would damage it (kernel: overlayfs.rst, "Sharing").
        case upperInUse(target: FilePath)
        /// The kernel has mounted something else; it was unmounted again.
        case miscounted(expected: Int, found: Int)
    }

    /// - Parameter folder: a directory that all layers lie below, for kernels that need short relative paths.
    package static func perform(
        _ mount: Mount, form: Mount.LowerForm, folder: FilePath, on target: FilePath
    ) throws(Failure) {
        do {
            switch mount {
            case .bind(let source, let readOnly):
                try MountCalls.bind(source, on: target, readOnly: readOnly)
            case .overlay(let lowers, let writable, let noIndex):
                if let writable, let other = try MountTable.read().target(ofUpper: writable.upper) {
                    throw Failure.upperInUse(target: other)
                }
                switch form {
                case .appended: try mountAppended(lowers, writable, noIndex: noIndex, on: target)
                case .joined: try mountJoined(mount, folder: folder, on: target)
                }
                try count(lowers, on: target)
            }
        } catch let failure as Failure {
            throw failure
        } catch let failure as SyscallFailure {
            throw .system(failure)
        } catch {
            throw .system(SyscallFailure("mount", path: "\(error)", code: 22))
        }
    }

    private static func mountAppended(
        _ lowers: [FilePath], _ writable: Mount.Writable?, noIndex: Bool, on target: FilePath
    ) throws(SyscallFailure) {
        let context = try MountCalls.Context(type: "overlay")
        for lower in lowers { try context.set("lowerdir+", lower) }
        if let writable {
            try context.set("upperdir", writable.upper)
            try context.set("workdir", writable.work)
        }
        if noIndex { try context.set("index", "off") }
        try context.mount(on: target, readOnly: writable == nil)
    }

    /// mount(2) from the store's folder: `lowerdir=12/fs:11/fs`.
    private static func mountJoined(_ mount: Mount, folder: FilePath, on target: FilePath) throws {
        guard case .overlay(let lowers, let writable, let noIndex) = mount else { return }
        func short(_ path: FilePath) -> FilePath {
            var path = path
            return path.removePrefix(folder) ? path : path
        }
        let relative = Mount.overlay(
            lowers: lowers.map(short),
            writable: writable.map { Mount.Writable(upper: short($0.upper), work: short($0.work)) },
            noIndex: noIndex)
        // `ro` is a flag of the call, not one of overlay's options.
        let options = relative.options(.joined).filter { $0 != "ro" }.joined(separator: ",")
        guard options.utf8.count <= MountLine.longestOptions else {
            throw Failure.tooManyLayers(count: lowers.count)
        }
        let absolute = target.isAbsolute ? target : try FilePath.workingDirectory().pushing(target)
        try MountCalls.overlay(
            options: options, from: try Directory(opening: folder), on: absolute, readOnly: mount.isReadOnly)
    }

    /// Reads back how many layers the new mount has.
    private static func count(_ lowers: [FilePath], on target: FilePath) throws {
        let found = try MountTable.read().lowers(of: target)
        guard found == lowers.count else {
            try MountCalls.unmount(target)
            throw Failure.miscounted(expected: lowers.count, found: found)
        }
    }

    package static func unmount(_ target: FilePath) throws(SyscallFailure) { try MountCalls.unmount(target) }
}
