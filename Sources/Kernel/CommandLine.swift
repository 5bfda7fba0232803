internal import CKernel
internal import Glibc

/// Arguments and environment of the process, as bytes.
extension Process {
    /// The arguments of `main`, the program's name first.
    ///
    /// Swift's `CommandLine.arguments` reads /proc/self/cmdline: it is empty without /proc, and replaces bytes that are
    /// not UTF-8.
    package static let arguments: [[UInt8]] = (0..<ck_argument_count()).map { index in
        ck_argument(index).map {
            UnsafeBufferPointer(start: $0, count: strlen($0)).map(UInt8.init(bitPattern:))
        }
            ?? []
    }

    /// The value of an environment variable; nil if it is not set.
    package static func environmentVariable(_ name: String) -> [UInt8]? {
        getenv(name).map { UnsafeBufferPointer(start: $0, count: strlen($0)).map(UInt8.init(bitPattern:)) }
    }

    /// Whether /proc is mounted for the PID namespace of this process. Some calls have no descriptor form and reach
    /// files through /proc/self/fd.
    package static var hasProc: Bool { ck_has_proc() == 1 }

    /// Appends the directories of system programs to PATH: those of ordinary users often lack them (Debian's login.defs,
    /// ENV_PATH), and chroot(8) and mkfs.ext4(8) are there.
    ///
    /// - Precondition: no other thread has started.
    package static func addSystemDirectoriesToPath() {
        // Without PATH, execvp(3) searches the directories of confstr(_CS_PATH).
        let path = environmentVariable("PATH").map { String(decoding: $0, as: UTF8.self) } ?? "/bin:/usr/bin"
        let present = path.split(separator: ":", omittingEmptySubsequences: false)
        let missing = ["/usr/local/sbin", "/usr/sbin", "/sbin"].filter { !present.contains($0[...]) }
        if !missing.isEmpty { setenv("PATH", ([path] + missing).joined(separator: ":"), 1) }
    }

    /// The environment as C strings, `NAME=VALUE` each.
    static func environment() -> [[CChar]] {
        var lines = [[CChar]]()
        var next = environ
        while let line = next.pointee {
            lines.append(Array(UnsafeBufferPointer(start: line, count: strlen(line) + 1)))
            next += 1
        }
        return lines
    }
}

extension [CChar] {
    func hasPrefix(_ text: StaticString) -> Bool {
        text.withUTF8Buffer { prefix in
            prefix.map(CChar.init(bitPattern:)).elementsEqual(self.prefix(prefix.count))
        }
    }
}
