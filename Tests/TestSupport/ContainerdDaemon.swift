import Foundation
import Kernel
package import SystemPackage

/// A containerd daemon with its data in memory, for one test.
package final class ContainerdDaemon {
    /// Version of containerd.
    package enum Release: String, CaseIterable, Sendable, CustomStringConvertible {
        /// The installed version: Debian's package.
        case installed
        /// The version of Debian sid, which `.ci/containerd-2` fetches.
        case sid

        package var description: String { rawValue }

        /// The versions available on this machine.
        package static let present = allCases.filter { release in
            [release.program("containerd"), release.program("ctr")].allSatisfy {
                $0.contains("/") ? FileManager.default.isExecutableFile(atPath: $0) : TestEnvironment.has($0)
            }
        }

        /// Path of one of its programs, or its name if it is looked up in PATH.
        package func program(_ name: String) -> String {
            switch self {
            case .installed: name
            case .sid: Built.repository.appending(".build/containerd-2/bin").appending(name).string
            }
        }
    }

    package let release: Release
    private let scratch: TemporaryDirectory
    private var process: RunningCommand?
    /// Address of its API.
    package let socket: FilePath
    package var root: FilePath { scratch.path.appending("root") }
    private let configuration: FilePath

    /// - Parameters:
    ///   - socket: address of its API; nil for one of its own.
    ///   - configuration: TOML, added to the common settings: own directories and no CRI.
    package init(
        _ release: Release = .installed, at socket: FilePath? = nil, _ configuration: String = "version = 2"
    ) throws {
        self.release = release
        scratch = try TemporaryDirectory(in: "/dev/shm")
        self.socket = socket ?? scratch.path.appending("socket")
        let config = """
            root = "\(scratch.path)/root"
            state = "\(scratch.path)/state"
            disabled_plugins = ["io.containerd.grpc.v1.cri", "io.containerd.cri.v1.images", "io.containerd.cri.v1.runtime"]
            \(configuration)
            [grpc]
            address = "\(self.socket)"
            """
        self.configuration = try scratch.write("config.toml", Array(config.utf8))
        try start()
    }

    package func start() throws {
        // A `ctr` that finds no socket retries only after seconds. A daemon that was killed leaves its socket behind.
        try? FileManager.default.removeItem(atPath: socket.string)
        process = try RunningCommand([
            release.program("containerd"), "--log-level", "info", "-c", configuration.string,
        ])
        for _ in 0..<3000 {
            let isThere = FileManager.default.fileExists(atPath: socket.string)
            if try isThere && tryCtr(["version"]).status == 0 { return }
            usleep(10_000)
        }
    }

    package func stop() {
        process?.send(SIGTERM)
        wait()
    }

    package func kill() {
        process?.kill()
        wait()
    }

    /// Stops it with SIGSTOP: it keeps its connections and answers nothing, until it is resumed or killed.
    package func pause() { process?.send(SIGSTOP) }

    package func resume() { process?.send(SIGCONT) }

    private func wait() {
        while process?.isRunning == true { usleep(10_000) }
    }

    deinit { kill() }

    /// The log so far.
    package var log: String { process?.errorText ?? "" }

    @discardableResult
    package func ctr(_ arguments: [String]) throws -> String { try tryCtr(arguments).succeed().text }

    @discardableResult
    package func ctr(_ arguments: String...) throws -> String { try ctr(arguments) }

    package func tryCtr(_ arguments: [String]) throws -> Command {
        try Command.run([release.program("ctr"), "-a", socket.string] + arguments)
    }

    /// Starts a `ctr` without waiting for it.
    package func startCtr(_ arguments: [String]) throws -> RunningCommand {
        try RunningCommand([release.program("ctr"), "-a", socket.string] + arguments)
    }

    /// Converts printed mounts of the installed version to the form of later ones: with a target (since 1.7), and
    /// `index=off` as the last option (since 2.0). The directory of the snapshots is replaced by `folder`.
    package func translated(_ text: String, to folder: FilePath) throws -> String {
        let own = scratch.path.appending("root/io.containerd.snapshotter.v1.overlayfs/snapshots").string
        var text = text.replacingOccurrences(of: own, with: folder.string)
        let version = try Command.run("containerd", "--version").succeed().text.split(separator: " ")
        let number =
            version.first { $0.first?.isNumber == true || $0.hasPrefix("v") && $0.contains(".") } ?? ""
        let parts = number.drop { $0 == "v" }.split(separator: ".").prefix(2).compactMap { Int($0) }
        guard parts.count == 2 else { return text }
        if (parts[0], parts[1]) < (1, 7) {
            text = text.replacing(/(?<source>        "Source": .*\n)/) {
                $0.source + "        \"Target\": \"\",\n"
            }
        }
        if parts[0] < 2 {
            let first = "            \"index=off\",\n"
            if text.contains(first) {
                text = text.replacingOccurrences(of: first, with: "")
                text = text.replacing(/(?<last>            "lowerdir=[^"]*")\n/) {
                    $0.last + ",\n            \"index=off\"\n"
                }
            }
        }
        return text
    }
}
