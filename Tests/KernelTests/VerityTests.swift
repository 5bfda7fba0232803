import Kernel
import SystemPackage
import TestSupport
import Testing

@Suite("fs-verity") struct VerityTests {
    @Test("A file gets fs-verity where its file system has it, and stays as it is elsewhere")
    func enable() throws {
        let temporary = try TemporaryDirectory()
        let path = temporary.path.appending("file")
        try temporary.write("file", Array("content".utf8))
        let digest = try File.open(path, .read).enableVerity()
        #expect(try File.open(path, .read).verityDigest() == digest)
        #expect(KernelProbes.hasVerity(in: temporary.path) == (digest != nil))
        if digest == nil {
            try temporary.write("file", Array("changed".utf8))
        } else {
            #expect(try File.open(path, .read).enableVerity() == digest)
            #expect(throws: SyscallFailure.self) { _ = try File.open(path, .readWrite) }
        }
    }
}
