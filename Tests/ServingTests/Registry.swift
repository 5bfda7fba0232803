import Foundation
import Glibc
import SystemPackage
import TestSupport

/// A registry on this machine, for one test.
final class Registry {
    private let scratch: TemporaryDirectory
    private let process: RunningCommand
    /// The name of the image in the registry.
    let image: String

    static let isHere = TestEnvironment.has("docker-registry")

    init() throws {
        scratch = try TemporaryDirectory(in: "/dev/shm")
        let port = try Self.freePort()
        image = "127.0.0.1:\(port)/shared:1"
        let config = """
            version: 0.1
            log: {level: error}
            storage: {filesystem: {rootdirectory: \(try scratch.makeDirectory("data"))}}
            http: {addr: "127.0.0.1:\(port)"}
            """
        let file = try scratch.write("config.yml", Array(config.utf8))
        process = try RunningCommand(["docker-registry", "serve", file.string])
    }

    deinit {
        process.kill()
        while process.isRunning { usleep(1000) }
    }

    func push(_ layout: FilePath) throws {
        var copy: Command?
        // The registry needs a moment before it listens.
        for _ in 0..<50 {
            copy = try Command.run(
                "skopeo", "copy", "--insecure-policy", "-q", "--dest-tls-verify=false", "oci:\(layout)",
                "docker://\(image)")
            if copy?.status == 0 { return }
            usleep(100_000)
        }
        try copy?.succeed()
    }

    private static func freePort() throws -> UInt16 {
        let socket = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
        defer { close(socket) }
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_addr.s_addr = UInt32(0x7F00_0001).bigEndian
        var size = socklen_t(MemoryLayout<sockaddr_in>.size)
        _ = withUnsafeMutablePointer(to: &address) { address in
            address.withMemoryRebound(to: sockaddr.self, capacity: 1) { address in
                bind(socket, address, size) + getsockname(socket, address, &size)
            }
        }
        return UInt16(bigEndian: address.sin_port)
    }
}
