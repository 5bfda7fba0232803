import Foundation
import Glibc
import SystemPackage

/// A cgroup that limits the number of processes and threads (kernel: cgroup-v1/pids.rst, cgroup-v2.rst).
package final class PidsCgroup {
    private let folder: FilePath

    package init(max: Int) throws {
        guard let parent = Self.parent else { throw Command.Failure(description: "no cgroup with pids.max") }
        folder = parent.appending("unpack-test-\(UInt32.random(in: .min ... .max))")
        try FileManager.default.createDirectory(atPath: folder.string, withIntermediateDirectories: false)
        try Data("\(max)".utf8).write(to: URL(fileURLWithPath: folder.appending("pids.max").string))
    }

    /// A command line that runs another one in the cgroup. A shell enters the cgroup and executes the program.
    package func words(_ command: [String]) -> [String] {
        ["sh", "-c", #"echo $$ > "$0/cgroup.procs" && exec "$@""#, folder.string] + command
    }

    deinit {
        // The cgroup is empty only shortly after its last process has ended.
        for _ in 0..<100 where rmdir(folder.string) != 0 && errno == EBUSY { usleep(20_000) }
    }

    /// The directory in which a cgroup can be made; nil if there is none.
    private static let parent: FilePath? = ["/sys/fs/cgroup/pids", "/sys/fs/cgroup"].map { FilePath($0) }
        .first {
            let probe = $0.appending("unpack-test-probe-\(UInt32.random(in: .min ... .max))").string
            guard mkdir(probe, 0o755) == 0 else { return false }
            defer { rmdir(probe) }
            return access(probe + "/pids.max", W_OK) == 0
        }

    package static let isPossible = parent != nil
}

/// A command line that runs another one under a seccomp filter that refuses every new thread (seccomp(2)).
///
/// - Parameter errno: the errno of clone3(2), and of clone(2) for a thread.
package func refusingThreads(_ errno: Int32, _ command: [String]) -> [String] {
    // Every Debian has Perl, which can make system calls. The filter consists of struct sock_filter (linux/filter.h).
    let script = #"""
        my ($errno, @command) = @ARGV;
        my $arm = `uname -m` =~ /aarch64/;
        my ($clone3, $clone) = (435, $arm ? 220 : 56);
        my $refuse = 0x00050000 | $errno;
        my $filter = join "", map { pack "SCCL", @$_ } (
            [0x20, 0, 0, 0], [0x15, 0, 1, $clone3], [0x06, 0, 0, $refuse],
            [0x15, 0, 3, $clone], [0x20, 0, 0, 16], [0x45, 0, 1, 0x10000], [0x06, 0, 0, $refuse],
            [0x06, 0, 0, 0x7fff0000]);
        my $program = pack "Sx![P]P", 8, $filter;
        syscall($arm ? 167 : 157, 38, 1, 0, 0, 0) == 0 or die "prctl: $!";
        syscall($arm ? 277 : 317, 1, 0, $program) == 0 or die "seccomp: $!";
        exec @command or die "exec: $!";
        """#
    return ["perl", "-e", script, "\(errno)"] + command
}
