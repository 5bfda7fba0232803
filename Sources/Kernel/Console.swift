internal import CKernel
internal import Glibc

/// The process's standard streams: stdout is data, stderr is talk.
package enum Console {
    /// - Throws: `SyscallFailure`, e.g. ENOSPC of the file that stdout is.
    package static func write(_ text: String) throws(SyscallFailure) { try write(text, to: STDOUT_FILENO) }

    /// Says something to the person; if nobody listens, nothing is lost.
    package static func say(_ text: String) { try? write(text, to: STDERR_FILENO) }

    private static func write(_ text: String, to descriptor: CInt) throws(SyscallFailure) {
        var rest = Array(text.utf8)[...]
        while !rest.isEmpty {
            let written = try syscall("write", descriptor == STDERR_FILENO ? FaultPoint.talk : "") {
                rest.withUnsafeBytes { ck_write(descriptor, $0.baseAddress, $0.count) }
            }
            rest = rest.dropFirst(written)
        }
    }

    package static var errorIsTerminal: Bool { isatty(STDERR_FILENO) == 1 }

    /// Columns of the terminal that stderr is; 80 where it does not say.
    package static var errorWidth: Int { width(of: STDERR_FILENO) }

    /// Columns of the terminal that stdout is, as `errorWidth`; nil if it is none.
    package static var outputWidth: Int? { isatty(STDOUT_FILENO) == 1 ? width(of: STDOUT_FILENO) : nil }

    private static func width(of descriptor: CInt) -> Int {
        let width = Int(ck_terminal_width(descriptor))
        return width > 0 ? width : 80
    }
}
