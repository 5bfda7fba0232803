import Foundation
import Kernel
package import SystemPackage

/// containerd with a store in memory, for one test.
package final class ContainerdDaemon {
    /// Which one.
    package enum Release: String, CaseIterable, Sendable, CustomStringConvertible {
        /// The one that is installed: Debian's own.
        case installed
        /// The one of Debian's sid, which `.ci/containerd-2` fetches.
        case later

        package var description: String { rawValue }

        /// Those that are here.
        package static let present = allCases.filter { release in
            [release.program("containerd"), release.program("ctr")].allSatisfy {
                $0.contains("/") ? FileManager.default.isExecutableFile(atPath: $0) : Ability.has($0)
            }
        }

        /// The path of one of its programs, or what is found in PATH.
        package func program(_ name: String) -> String {
            switch self {
            case .installed: name
            case .later: Built.repository.appending(".build/containerd-2/bin").appending(name).string
            }
        }
    }

    package let release: Release
    private let scratch: TemporaryDirectory
    private var process: RunningCommand?
    /// Where it can be spoken to.
    package let socket: FilePath
    package var root: FilePath { scratch.path.appending("root") }
    private let configuration: FilePath

    /// - Parameters:
    ///   - socket: where it is to be spoken to.
    ///   - configuration: beside what every test's has: no CRI, and places of its own.
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
        // A `ctr` that comes too early tries again after seconds only. One that was killed has left its own.
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

    /// Holds it still: it keeps its connections and answers nothing, until it is killed or goes on.
    package func pause() { process?.send(SIGSTOP) }

    package func goOn() { process?.send(SIGCONT) }

    private func wait() {
        while process?.isRunning == true { usleep(10_000) }
    }

    deinit { kill() }

    /// What it has said so far.
    package var log: String { process?.errorText ?? "" }

    @discardableResult
    package func ctr(_ arguments: [String]) throws -> String { try tryCtr(arguments).succeed().text }

    @discardableResult
    package func ctr(_ arguments: String...) throws -> String { try ctr(arguments) }

    package func tryCtr(_ arguments: [String]) throws -> Command {
        try Command.run([release.program("ctr"), "-a", socket.string] + arguments)
    }

    /// Starts a `ctr`, and goes on.
    package func startCtr(_ arguments: [String]) throws -> RunningCommand {
        try RunningCommand([release.program("ctr"), "-a", socket.string] + arguments)
    }

    /// Mounts as this version of it prints them, as a later one would: with a target (since 1.7), and `index=off` as the
    /// last option (since 2.0). The snapshots lie in another folder, and are numbered alike.
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
