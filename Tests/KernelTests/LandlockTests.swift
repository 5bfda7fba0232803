import Kernel
import Streams
import SystemPackage
import TestSupport
import Testing

@Suite(.enabled(if: Landlock.isAvailable, "the kernel has no Landlock of version 3"))
struct LandlockTests {
    private let temporary: TemporaryDirectory
    private let inside: Directory
    private let outside: Directory
    private let file = FileName(literal: "file")
    private let other = FileName(literal: "other")

    init() throws {
        temporary = try TemporaryDirectory()
        inside = try Directory(opening: try temporary.makeDirectory("inside/below"))
        outside = try Directory(opening: try temporary.makeDirectory("outside"))
        try temporary.write("outside/file", [1])
    }

    /// Runs `body` on a new thread that has confined itself.
    private func confined<Value: Sendable>(_ body: @escaping @Sendable () throws -> Value) throws -> Value {
        let inside = try Directory(opening: temporary.path.appending("inside"))
        return try WorkerThread {
            #expect(try Landlock.confine(to: inside))
            return try body()
        }.join()
    }

    @Test("A confined thread changes nothing outside, even through open descriptors")
    func fence() throws {
        let attempts: [@Sendable (Directory, Directory) throws -> Void] = [
            { outside, _ in _ = try outside.createFile(other, mode: 0o600) },
            { outside, _ in try outside.makeDirectory(other, mode: 0o700) },
            { outside, _ in try outside.makeSymlink(other, target: [120]) },
            { outside, _ in try outside.makeNode(other, .fifo, mode: 0o600) },
            { outside, _ in try outside.removeFile(file) },
            { outside, _ in try outside.rename(file, to: other) },
            { outside, inside in try inside.link(file, of: outside, as: other) },
            { outside, inside in try outside.rename(file, to: other, in: inside) },
            { outside, _ in _ = try outside.openExistingFile(file) },
        ]
        for (number, attempt) in attempts.enumerated() {
            let failure = #expect(throws: SyscallFailure.self, "attempt \(number)") {
                try confined { [outside, inside] in try attempt(outside, inside) }
            }
            #expect([.permissionDenied, .improperLink].contains(failure?.errno), "attempt \(number)")
        }
        #expect(try outside.names() == [file])
        #expect(try inside.names().isEmpty)
    }

    @Test("A confined thread can write inside, link between directories, and read anywhere")
    func freedom() throws {
        try confined { [inside, outside, file, other] in
            try inside.createFile(file, mode: 0o600)?.close()
            try inside.makeDirectory(other, mode: 0o700)
            let child = try inside.open(other)
            try child.link(file, of: inside, as: file)
            try inside.rename(file, to: other, in: child)
            try child.makeWhiteout(FileName(literal: "whiteout"), .attribute)
            var bytes = [UInt8]()
            try outside.openFile(file).read(into: &bytes, limit: 10)
            #expect(bytes == [1])
        }
        #expect(try inside.open(other).names().count == 3)
    }

    @Test("Only the calling thread is confined")
    func others() throws {
        try confined {}
        try outside.createFile(other, mode: 0o600)?.close()
        #expect(try outside.names().count == 2)
    }
}
