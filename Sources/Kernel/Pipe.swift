internal import CKernel

/// A pipe that programs started later do not inherit (pipe2(2), O_CLOEXEC). Each end is closed when it is released.
struct Pipe: ~Copyable {
    let readEnd: File
    let writeEnd: File

    init() throws(SyscallFailure) {
        var ends: [CInt] = [-1, -1]
        try syscall("pipe2") { ck_pipe(&ends) }
        readEnd = File(adopting: ends[0])
        writeEnd = File(adopting: ends[1])
    }

    var descriptors: [CInt] { [readEnd.raw, writeEnd.raw] }
}
