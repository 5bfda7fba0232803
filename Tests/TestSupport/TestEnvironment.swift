import Foundation
package import Kernel
package import SystemPackage

/// What this machine allows a test to do, found by trying it instead of checking the user ID.
package enum TestEnvironment {
    /// A directory on a file system that supports everything in a layer: `trusted.*` and `user.*` attributes, owners,
    /// device nodes and whiteouts; nil if there is none. File systems in memory are preferred, because tests make large
    /// trees.
    package static let scratch: FilePath? = {
        let places = ["/dev/shm", NSTemporaryDirectory(), "/var/tmp"].map { FilePath($0) }
        return places.first { (try? holdsLayers($0)) != nil }
    }()

    package static let canApplyLayers = scratch != nil

    /// Whether `make sanitize` runs the tests. A sanitizer needs /proc, and threads, memory and system calls of its own.
    package static let isSanitized = ProcessInfo.processInfo.environment["LSAN_OPTIONS"] != nil

    /// Whether overlay mounts work on `scratch`.
    package static let canMountOverlay: Bool = {
        guard let scratch, let directory = try? TemporaryDirectory(in: scratch) else { return false }
        do {
            let lowers = try ["a", "b"].map { try directory.makeDirectory($0) }
            let target = try directory.makeDirectory("merged")
            try MountCalls.overlay(
                options: "lowerdir=" + lowers.map(\.string).joined(separator: ":"),
                from: try Directory(opening: directory.path), on: target, readOnly: true)
            try unmountWhenFree(target)
            return true
        } catch {
            return false
        }
    }()

    /// Whether overlayfs supports whiteouts that are attributes (6.7 and later), probed with one.
    package static let canMountAttributeWhiteouts: Bool = {
        guard canMountOverlay, let scratch, let directory = try? TemporaryDirectory(in: scratch) else {
            return false
        }
        let name = FileName(literal: "hidden")
        do {
            let lowers = try ["a", "b"].map { try directory.makeDirectory($0) }
            let upper = try Directory(opening: lowers[0])
            try upper.makeWhiteout(name, .attribute)
            try upper.setOpacity(.holdsWhiteouts)
            _ = try Directory(opening: lowers[1]).createFile(name, mode: 0o600)
            let target = try directory.makeDirectory("merged")
            try MountCalls.overlay(
                options: "lowerdir=" + lowers.map(\.string).joined(separator: ":"),
                from: try Directory(opening: directory.path), on: target, readOnly: true)
            let shows = Result { try Directory(opening: target).status(of: name) != nil }
            try unmountWhenFree(target)
            return try !shows.get()
        } catch {
            return false
        }
    }()

    /// Whether `UNPACK_CONFORMANCE` names snapshotters: that they cannot be tried is a failure then.
    package static let isConformanceChosen =
        ProcessInfo.processInfo.environment["UNPACK_CONFORMANCE"] != nil

    /// The snapshotters of the conformance tests: those in `UNPACK_CONFORMANCE`, separated by commas, or all of these.
    package static func chosen(_ snapshotters: [String]) -> [String] {
        guard let chosen = ProcessInfo.processInfo.environment["UNPACK_CONFORMANCE"] else {
            return snapshotters
        }
        let names = chosen.split(separator: ",").map(String.init)
        return snapshotters.filter { names.contains($0) }
    }

    package static func has(_ program: String) -> Bool {
        let folders = ProcessInfo.processInfo.environment["PATH"]?.split(separator: ":") ?? []
        return folders.contains { FileManager.default.isExecutableFile(atPath: "\($0)/\(program)") }
    }

    private static func holdsLayers(_ place: FilePath) throws {
        let temporary = try TemporaryDirectory(in: place)
        let directory = try Directory(opening: temporary.path)
        let name = FileName(literal: "file")
        _ = try directory.createFile(name, mode: 0o600)
        try directory.setOwner(of: name, uid: 1, gid: 1)
        try directory.setExtendedAttribute(AttributeName(literal: "trusted.test"), [1], of: name)
        try directory.setExtendedAttribute(AttributeName(literal: "user.test"), [1], of: name)
        try directory.makeWhiteout(FileName(literal: "whiteout"), .device)
        try directory.makeNode(
            FileName(literal: "null"), .character(DeviceNumber(major: 1, minor: 3)), mode: 0o600)
    }
}

/// Unmounts, retrying while the mount is busy: a child of a concurrent test holds all descriptors of this process until
/// it has executed its program.
package func unmountWhenFree(_ target: FilePath) throws(SyscallFailure) {
    for _ in 1...100 {
        do throws(SyscallFailure) {
            return try MountCalls.unmount(target)
        } catch {
            guard error.errno == .resourceBusy else { throw error }
            Process.sleep(milliseconds: 20)
        }
    }
    try MountCalls.unmount(target)
}
