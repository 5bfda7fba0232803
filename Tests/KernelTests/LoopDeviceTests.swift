import Kernel
import SystemPackage
import TestSupport
import Testing

@Suite("Loop devices", .enabled(if: Ability.canMakeLoopDevices, "loop devices cannot be made here"))
struct LoopDeviceTests {
    private let temporary: TemporaryDirectory
    private let file: FilePath

    init() throws {
        temporary = try TemporaryDirectory(in: "/dev/shm")
        file = try temporary.write("image", Bytes.noise(1 << 20).array)
    }

    /// What the kernel says the device is made of.
    private func backing(_ device: FilePath) throws -> String? {
        let name = try #require(device.lastComponent).string
        let path = FilePath("/sys/block/\(name)/loop/backing_file")
        return (try? File.contents(of: path)).map { String(decoding: $0.dropLast(), as: UTF8.self) }
    }

    @Test("A file is a device for as long as somebody has it", arguments: [true, false])
    func lives(readOnly: Bool) throws {
        var device: LoopDevice? = try LoopDevice(of: file, readOnly: readOnly)
        let path = try #require(device?.path)
        #expect(try backing(path) == file.string)
        #expect(try File.contents(of: path) == Bytes.noise(1 << 20).array)
        let name = try #require(path.lastComponent).string
        let flag = try File.contents(of: FilePath("/sys/block/\(name)/ro"))
        #expect(flag.first == (readOnly ? UInt8(ascii: "1") : UInt8(ascii: "0")))
        device = nil
        // A child that another test is just starting may have it open for a moment.
        var rounds = 0
        while try backing(path) == file.string, rounds < 100 {
            Process.sleep(milliseconds: 20)
            rounds += 1
        }
        #expect(rounds < 100)
    }

    @Test("Many are made at the same time, each of its own file")
    func many() async throws {
        let paths = try await withThrowingTaskGroup(of: FilePath.self) { group in
            for number in 0..<12 {
                group.addTask {
                    let file = try temporary.write("image-\(number)", Array(repeating: 0, count: 4096))
                    let device = try LoopDevice(of: file, readOnly: false)
                    let found = try backing(device.path)
                    #expect(found == file.string)
                    return device.path
                }
            }
            return try await group.reduce(into: [FilePath]()) { $0.append($1) }
        }
        #expect(paths.count == 12)
    }

    @Test("What cannot be one is told")
    func failing() throws {
        let missing = #expect(throws: SyscallFailure.self) {
            try LoopDevice(of: temporary.path.appending("missing"), readOnly: true)
        }
        #expect(missing?.isMissing == true)
        let fifo = try Directory(opening: temporary.path)
        try fifo.makeNode(FileName(literal: "s"), .socket, mode: 0o600)
        #expect(throws: SyscallFailure.self) {
            try LoopDevice(of: temporary.path.appending("s"), readOnly: false)
        }
    }
}
