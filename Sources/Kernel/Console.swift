internal import CKernel
internal import Glibc

/// The process's standard streams: stdout is data, stderr is talk.
package enum Console {
    /// - Throws: `SyscallFailure`, e.g. ENOSPC of the file that stdout is.
    package static func write(_ text: String) throws(SyscallFailure) {
        do {
            try write(text, to: STDOUT_FILENO)
        } catch {
            throw SyscallFailure(error.call, path: SyscallFailure.standardOutput, errno: error.errno)
        }
    }

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

    /// Whether stderr is a terminal that is this process's to draw on: a job in the background would draw over what somebody
    /// types.
    package static var outputIsTerminal: Bool { isatty(STDOUT_FILENO) == 1 }

    package static var errorIsTerminal: Bool {
        guard isatty(STDERR_FILENO) == 1 else { return false }
        let foreground = tcgetpgrp(STDERR_FILENO)
        // Nobody's where it is not the terminal that this session is controlled by.
        return foreground < 0 || foreground == getpgrp()
    }

    /// Columns and rows of the terminal that stderr is; 80 and 24 where it does not say.
    package static var errorSize: (columns: Int, rows: Int) { size(of: STDERR_FILENO) }

    /// Columns of the terminal that stdout is, as `errorSize`; nil if it is none.
    package static var outputWidth: Int? {
        isatty(STDOUT_FILENO) == 1 ? size(of: STDOUT_FILENO).columns : nil
    }

    private static func size(of descriptor: CInt) -> (columns: Int, rows: Int) {
        var (columns, rows) = (UInt16(0), UInt16(0))
        _ = ck_terminal_size(descriptor, &columns, &rows)
        return (columns > 0 ? Int(columns) : 80, rows > 0 ? Int(rows) : 24)
    }
}
