import Foundation
import Kernel
import SystemPackage
import TestSupport

/// containerd with a store in memory, for one test.
final class ContainerdDaemon {
    private let scratch: TemporaryDirectory
    private let process: RunningCommand
    private let socket: FilePath

    init() throws {
        scratch = try TemporaryDirectory(in: "/dev/shm")
        socket = scratch.path.appending("socket")
        let config = """
            version = 2
            root = "\(scratch.path)/root"
            state = "\(scratch.path)/state"
            disabled_plugins = ["io.containerd.grpc.v1.cri"]
            [grpc]
            address = "\(socket)"
            """
        let file = try scratch.write("config.toml", Array(config.utf8))
        process = try RunningCommand(["containerd", "--log-level", "error", "-c", file.string])
        for _ in 0..<300 where try Command.run("ctr", "-a", socket.string, "version").status != 0 {
            usleep(100_000)
        }
    }

    func stop() {
        process.kill()
        while process.isRunning { usleep(10_000) }
    }

    func ctr(_ arguments: [String]) throws -> String {
        try Command.run(["ctr", "-a", socket.string] + arguments).succeed().text
    }

    /// Mounts as this version of it prints them, as a later one would: with a target (since 1.7), and `index=off` as the
    /// last option (since 2.0). The snapshots lie in another folder, and are numbered alike.
    func translated(_ text: String, to folder: FilePath) throws -> String {
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
