package import Kernel
package import SystemPackage

/// Performs mounts, and verifies that an overlay has all its layers.
package enum MountPerformer {
    package enum Failure: Error, Sendable {
        case system(SyscallFailure)
        /// More layers than this kernel takes.
        case tooManyLayers(count: Int)
        /// The upper directory or the image is in use. A second mount would damage it (kernel: overlayfs.rst, "Sharing
        /// and copying layers"). `target` is the mount point; nil if it is unknown: an image may be in use by a mount
        /// that this process does not see.
        case inUse(target: FilePath?)
        /// The kernel mounted another number of layers. The mount was removed again.
        case layerCountMismatch(expected: Int, found: Int)
        /// A defect of this program.
        case bug(String)
    }

    /// Performs several mounts in order on the same target, each on top of the previous one. If one fails, the previous
    /// ones are unmounted.
    package static func perform(
        _ mounts: [Mount], form: Mount.LowerForm, folder: FilePath, on target: FilePath
    ) throws(Failure) {
        var done = 0
        do throws(Failure) {
            for mount in mounts {
                try perform(mount, form: form, folder: folder, on: target)
                done += 1
            }
        } catch {
            for _ in 0..<done { try? unmount(target) }
            throw error
        }
    }

    /// - Parameter folder: a directory that contains all layers, for kernels that need short relative paths.
    package static func perform(
        _ mount: Mount, form: Mount.LowerForm, folder: FilePath, on target: FilePath
    ) throws(Failure) {
        do {
            switch mount {
            case .bind(let source, let readOnly):
                try MountCalls.bind(source, on: target, readOnly: readOnly)
            case .overlay(let lowers, let writable, _, _):
                try refuseSecondUse(of: writable)
                switch form {
                case .appended: try appended(mount).attach(to: target)
                case .joined: try mountJoined(mount, folder: folder, on: target)
                }
                try verifyLayerCount(lowers.count, on: target)
            case .subvolume(let device, let id, let readOnly):
                let context = try MountCalls.Context(type: mount.type)
                try context.set("source", device)
                try context.set("subvolid", FilePath("\(id)"))
                // Read-only is a property of this mount: the file system is shared with every other mount of the
                // device.
                try context.mount(on: target, readOnly: readOnly)
            case .imageStack(let images, let writable, let noIndex):
                try refuseSecondUse(of: writable)
                try imageStack(images, writable, noIndex: noIndex, form, above: target).attach(to: target)
                try verifyLayerCount(images.count, on: target)
            case .image(let file, Mount.erofs, readOnly: true, _):
                try DetachedMount.erofs(file).attach(to: target)
            case .image(let file, let type, let readOnly, let options):
                let device = try LoopDevice(of: file, readOnly: readOnly)
                // The check follows the creation of this device: of two processes that mount at the same time, each
                // sees the other.
                if !readOnly { try waitForOtherWriters(than: device, of: file) }
                try mountDevice(device.path, type, readOnly: readOnly, options, on: target)
            case .device(let device, let type, let readOnly, let options):
                try mountDevice(device, type, readOnly: readOnly, options, on: target)
            }
        } catch let failure as Failure {
            throw failure
        } catch let failure as SyscallFailure {
            throw .system(failure)
        } catch {
            throw .bug("\(error)")
        }
    }

    /// Waits until no other loop device can write to an image. A device that was unmounted a moment ago may still be
    /// there: the kernel frees it asynchronously (loop(4), LO_FLAGS_AUTOCLEAR).
    ///
    /// - Throws: `.inUse` if another writable device is mounted, or does not disappear within two seconds.
    static func waitForOtherWriters(than device: LoopDevice, of file: FilePath) throws {
        for _ in 0..<maximumPolls {
            let writers = try LoopTable.read().devices(of: file, onlyWriters: true)
            guard let other = writers.first(where: { $0 != device.path }) else { return }
            if let target = try MountTable.read().target(ofSource: other) {
                throw Failure.inUse(target: target)
            }
            Process.sleep(milliseconds: 10)
        }
        throw Failure.inUse(target: nil)
    }

    /// Polls at intervals of 10 ms.
    private static let maximumPolls = 200

    private static func mountDevice(
        _ device: FilePath, _ type: String, readOnly: Bool, _ options: [String], on target: FilePath
    ) throws {
        let context = try MountCalls.Context(type: type)
        try context.set("source", device)
        if readOnly { try context.set("ro", nil) }
        for option in options.map(MountOption.init) {
            try context.set(option.key, option.value.map { FilePath($0) })
        }
        let mount: MountObject
        do throws(SyscallFailure) {
            mount = try context.create(readOnly: readOnly)
        } catch {
            throw SyscallFailure(error.call, path: escaped(device), errno: error.errno)
        }
        try mount.attach(to: target)
    }

    private static func refuseSecondUse(of writable: Mount.Writable?) throws {
        guard let writable, let other = try MountTable.read().target(ofUpper: writable.upper) else { return }
        throw Failure.inUse(target: other)
    }

    /// Mounts images and their overlay, which keeps the images mounted and ends with its own mount: nothing else has to
    /// be unmounted.
    ///
    /// The mount table shows the topmost image as the source of the overlay, and nothing of the images' mounts.
    private static func imageStack(
        _ images: [FilePath], _ writable: Mount.Writable?, noIndex: Bool, _ form: Mount.LowerForm,
        above target: FilePath
    ) throws -> MountObject {
        try ImageLayers.mounted(images, on: target) { roots in
            let overlay = Mount.overlay(
                lowers: roots, writable: writable, userAttributes: false, noIndex: noIndex)
            switch form {
            case .appended: return try appended(overlay, source: images.first)
            case .joined:
                // In the namespace that has the images.
                try mountJoined(overlay, folder: "/", source: images.first ?? "overlay", on: target)
                return try MountCalls.copy(of: target)
            }
        }
    }

    /// Makes an overlay with one option for each lower layer.
    ///
    /// - Parameter source: for the mount table; left out if it is too long for fsconfig(2).
    private static func appended(_ mount: Mount, source: FilePath? = nil) throws -> MountObject {
        guard case .overlay(let lowers, let writable, let userAttributes, let noIndex) = mount else {
            throw InternalError("not an overlay: \(mount)")
        }
        let context = try MountCalls.Context(type: "overlay")
        if let source, source.bytes.count <= MountCalls.longestValue { try context.set("source", source) }
        for lower in lowers { try context.set("lowerdir+", lower) }
        if let writable {
            try context.set("upperdir", writable.upper)
            try context.set("workdir", writable.work)
        }
        if userAttributes { try context.set("userxattr", nil) }
        if noIndex { try context.set("index", "off") }
        return try context.create(readOnly: writable == nil)
    }

    /// Mounts with mount(2). If the options are too long, lower layers are passed relative to `folder`:
    /// `lowerdir=12/fs:11/fs`. The upper directory is always absolute, because the mount table shows it as it was
    /// passed.
    private static func mountJoined(
        _ mount: Mount, folder: FilePath, source: FilePath = "overlay", on target: FilePath
    ) throws {
        guard case .overlay(let lowers, let writable, let userAttributes, let noIndex) = mount else {
            throw InternalError("not an overlay: \(mount)")
        }
        func short(_ path: FilePath) -> FilePath {
            var path = path
            return path.removePrefix(folder) ? path : path
        }
        // `ro` is a flag of the call, not one of overlay's options.
        func text(_ mount: Mount) -> String {
            mount.options(.joined).filter { $0 != "ro" }.joined(separator: ",")
        }
        var options = text(mount)
        if options.utf8.count > MountLine.longestOptions {
            options = text(
                .overlay(
                    lowers: lowers.map(short), writable: writable, userAttributes: userAttributes,
                    noIndex: noIndex))
        }
        guard options.utf8.count <= MountLine.longestOptions else {
            throw Failure.tooManyLayers(count: lowers.count)
        }
        let absolute = target.isAbsolute ? target : try FilePath.workingDirectory().pushing(target)
        try MountCalls.overlay(
            options: options, source: source, from: try Directory(opening: folder), on: absolute,
            readOnly: mount.isReadOnly)
    }

    /// Verifies the number of layers of a new mount in the mount table, and unmounts it if the number is wrong.
    private static func verifyLayerCount(_ expected: Int, on target: FilePath) throws {
        let found = try MountTable.read().lowers(of: target)
        guard found == expected else {
            try MountCalls.unmount(target)
            throw Failure.layerCountMismatch(expected: expected, found: found)
        }
    }

    /// - Parameter lazily: whether the mount is only detached, and ends with its last use (umount2(2), MNT_DETACH).
    package static func unmount(_ target: FilePath, lazily: Bool = false) throws(SyscallFailure) {
        try MountCalls.unmount(target, lazily: lazily)
    }
}
