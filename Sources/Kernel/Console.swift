internal import CKernel
internal import Glibc

/// The standard streams of the process: data goes to stdout, messages go to stderr.
package enum Console {
    /// Writes all of the text to stdout.
    ///
    /// - Throws: `SyscallFailure`, e.g. ENOSPC if stdout is a file.
    package static func write(_ text: String) throws(SyscallFailure) {
        do {
            try write(text, to: STDOUT_FILENO)
        } catch {
            throw SyscallFailure(error.call, path: SyscallFailure.standardOutput, errno: error.errno)
        }
    }

    /// Writes a message to stderr. A failed write is ignored.
    package static func writeError(_ text: String) { try? write(text, to: STDERR_FILENO) }

    private static func write(_ text: String, to descriptor: CInt) throws(SyscallFailure) {
        var rest = Array(text.utf8)[...]
        while !rest.isEmpty {
            let subject = descriptor == STDERR_FILENO ? FaultPoint.standardError : ""
            let written = try syscall("write", subject, skipped: rest.count) {
                rest.withUnsafeBytes { ck_write(descriptor, $0.baseAddress, $0.count) }
            }
            rest = rest.dropFirst(written)
        }
    }

    package static var outputIsTerminal: Bool { isatty(STDOUT_FILENO) == 1 }

    package static var errorIsTerminal: Bool { isatty(STDERR_FILENO) == 1 }

    /// Whether this process is in the foreground of the terminal that stderr is.
    package static var errorTerminalIsOurs: Bool {
        let foreground = tcgetpgrp(STDERR_FILENO)
        // -1 if stderr is not the controlling terminal of this session; then no job control applies.
        return foreground < 0 || foreground == getpgrp()
    }

    /// Size of the terminal that stderr is; 80 × 24 if the terminal does not report it.
    package static var errorTerminalSize: (columns: Int, rows: Int) { size(of: STDERR_FILENO) }

    /// Columns of the terminal that stdout is, 80 if it does not report them; nil if stdout is not a terminal.
    package static var outputWidth: Int? {
        isatty(STDOUT_FILENO) == 1 ? size(of: STDOUT_FILENO).columns : nil
    }

    private static func size(of descriptor: CInt) -> (columns: Int, rows: Int) {
        var (columns, rows) = (UInt16(0), UInt16(0))
        _ = ck_terminal_size(descriptor, &columns, &rows)
        return (columns > 0 ? Int(columns) : 80, rows > 0 ? Int(rows) : 24)
    }
}
