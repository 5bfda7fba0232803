import Kernel
import SystemPackage
import TestSupport
import Testing

@Suite("Loop devices", .enabled(if: TestEnvironment.canMakeLoopDevices, "loop devices cannot be made here"))
struct LoopDeviceTests {
    private let temporary: TemporaryDirectory
    private let file: FilePath

    init() throws {
        temporary = try TemporaryDirectory(in: "/dev/shm")
        file = try temporary.write("image", Bytes.noise(1 << 20).array)
    }

    @Test("A loop device exists until its last user closes it", arguments: [true, false])
    func lives(readOnly: Bool) throws {
        var device: LoopDevice? = try LoopDevice(of: file, readOnly: readOnly)
        let path = try #require(device?.path)
        #expect(try LoopDevice.backing(path) == file.string)
        #expect(try File.contents(of: path) == Bytes.noise(1 << 20).array)
        let name = try #require(path.lastComponent).string
        let flag = try File.contents(of: FilePath("/sys/block/\(name)/ro"))
        #expect(flag.first == (readOnly ? UInt8(ascii: "1") : UInt8(ascii: "0")))
        device = nil
        #expect(try LoopDevice.isFreed(path, of: file))
    }

    @Test("Devices that are made concurrently have different files")
    func many() async throws {
        let paths = try await withThrowingTaskGroup(of: FilePath.self) { group in
            for number in 0..<12 {
                group.addTask {
                    let file = try temporary.write("image-\(number)", Array(repeating: 0, count: 4096))
                    let device = try LoopDevice(of: file, readOnly: false)
                    let found = try LoopDevice.backing(device.path)
                    #expect(found == file.string)
                    return device.path
                }
            }
            return try await group.reduce(into: [FilePath]()) { $0.append($1) }
        }
        #expect(paths.count == 12)
    }

    @Test("A file that cannot be a loop device is reported")
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

extension LoopDevice {
    /// Path of the backing file, as the kernel reports it.
    static func backing(_ device: FilePath) throws -> String? {
        let name = try #require(device.lastComponent).string
        let path = FilePath("/sys/block/\(name)/loop/backing_file")
        return (try? File.contents(of: path)).map { String(decoding: $0.dropLast(), as: UTF8.self) }
    }

    /// Waits until a device, and the mounts from it, are freed. A child of a concurrent test holds all descriptors of
    /// this process until it has executed its program.
    static func isFreed(_ device: FilePath, of file: FilePath) throws -> Bool {
        for _ in 1...1500 where try backing(device) == file.string { Process.sleep(milliseconds: 20) }
        return try backing(device) != file.string
    }
}
