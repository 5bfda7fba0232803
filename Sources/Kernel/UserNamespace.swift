internal import CKernel
internal import Glibc
internal import SystemPackage

/// Runs a program in a new user namespace, as root over its own files (user_namespaces(7)).
package enum UserNamespace {
    /// Which IDs of the host the namespace maps.
    package enum Kind: String, Sendable, CaseIterable {
        /// The own ID as root, followed by the subordinate IDs of subuid(5) and subgid(5).
        case subordinate
        /// Only the own ID, as root.
        case single
    }

    package struct Failure: Error, Sendable {
        package enum Cause: Error, Sendable, CustomStringConvertible {
            case system(SyscallFailure)
            /// /etc/subuid or /etc/subgid has no range for this user.
            case noSubordinateIDs
            /// newuidmap(1) or newgidmap(1) ended with an error.
            case refusedMap(program: String)
            /// The child ended before it had reported its result.
            case killedChild
            /// A defect of this program.
            case bug(String)

            package var description: String {
                switch self {
                case .system(let failure): failure.description
                case .noSubordinateIDs: "/etc/subuid and /etc/subgid have no IDs for this user"
                case .refusedMap(let program): "\(program) refused to map the IDs"
                case .killedChild: "the process in the namespace was killed"
                case .bug(let reason): reason
                }
            }
        }

        package let cause: Cause
        /// Whether the program could not be started although the namespace was made.
        package let isExecFailure: Bool

        /// Whether the kernel refused the namespace itself, before any ID was mapped.
        package var isOfUnshare: Bool {
            if case .system(let failure) = cause { failure.call == "unshare" } else { false }
        }
    }

    /// Environment variable that is set in the started program; its value is a `Kind`.
    package static let variable = "UNPACK_NAMESPACE"

    /// Whether this process was started by `run`.
    package static var isInside: Bool { kind != nil }

    package static var kind: Kind? {
        getenv(variable).flatMap { Kind(rawValue: String(cString: $0)) }
    }

    /// Runs a program in a new user namespace and waits for it. Signals sent to this process are forwarded.
    ///
    /// - Parameters:
    ///   - program: looked up in PATH, unless it contains a slash; nil for the executable of this process.
    ///   - arguments: without the program's name.
    /// - Returns: its exit status, or 128 plus the signal that ended it.
    /// - Throws: why not even a `single` namespace can be made, or why the program cannot be started.
    package static func run(_ program: String?, _ arguments: [String]) throws(Failure) -> Int32 {
        var set = sigset_t()
        var previous = sigset_t()
        _ = ck_block_for_child(&set, &previous)
        let ranges = SubordinateIDs.ofThisUser()
        defer { pthread_sigmask(SIG_SETMASK, &previous, nil) }
        if let ranges, let child = try? start(program, arguments, .subordinate, ranges, &previous) {
            return try wait(child, &set)
        }
        return try wait(try start(program, arguments, .single, nil, &previous), &set)
    }

    /// Probes whether a namespace of this kind can be made, by running true(1) in one.
    package static func probe(_ kind: Kind) throws(Failure) {
        var set = sigset_t()
        var previous = sigset_t()
        _ = ck_block_for_child(&set, &previous)
        defer { pthread_sigmask(SIG_SETMASK, &previous, nil) }
        let ranges = SubordinateIDs.ofThisUser()
        if kind == .subordinate, ranges == nil {
            throw Failure(cause: .noSubordinateIDs, isExecFailure: false)
        }
        let child = try start("true", [], kind, ranges, &previous)
        _ = try wait(child, &set)
    }

    private static func wait(_ child: CInt, _ set: inout sigset_t) throws(Failure) -> Int32 {
        let status = ck_wait_as_parent(child, &set)
        if status < 0 {
            throw Failure(cause: .system(SyscallFailure("waitpid", code: -status)), isExecFailure: true)
        }
        return status
    }

    private static func start(
        _ program: String?, _ arguments: [String], _ kind: Kind, _ ranges: SubordinateIDs?,
        _ mask: inout sigset_t
    ) throws(Failure) -> CInt {
        do {
            let ready = try Pipe()
            let go = try Pipe()
            let (ends, starts) = (ready.descriptors, go.descriptors)
            let reports = ready.readEnd
            let reportEnd = ready.writeEnd
            let goEnd = go.readEnd
            let goSignal = go.writeEnd
            let words = ([program ?? "unpack"] + arguments).map { strdup($0) }
            let own = Process.environment().filter { !$0.hasPrefix("UNPACK_NAMESPACE=") }.map { strdup($0) }
            let environment = own + [strdup("\(variable)=\(kind.rawValue)")]
            defer { (words + environment).forEach { free($0) } }
            let child = try syscall("fork") {
                ck_start_in_namespace(
                    program ?? "/proc/self/exe", words + [nil], environment + [nil], &mask, ends, starts)
            }
            do {
                try reportEnd.close()
                try goEnd.close()
                try check(try readReport(reports), "unshare")
                try writeMaps(kind, ranges, of: child)
                try [UInt8(1)].withRawSpan { span throws(SyscallFailure) in try goSignal.write(span) }
                try check(try readReport(reports), "mount")
            } catch {
                _ = kill(child, SIGKILL)
                _ = ck_wait(child)
                throw error
            }
            if let failure = try readReport(reports) {
                _ = ck_wait(child)
                let cause = SyscallFailure("execve", path: escaped((program ?? "").utf8), code: failure)
                throw Failure(cause: .system(cause), isExecFailure: true)
            }
            return child
        } catch let failure as Failure {
            throw failure
        } catch let failure as SyscallFailure {
            throw Failure(cause: .system(failure), isExecFailure: false)
        } catch let cause as Failure.Cause {
            throw Failure(cause: cause, isExecFailure: false)
        } catch {
            throw Failure(cause: .bug("\(error)"), isExecFailure: false)
        }
    }

    /// Throws an errno that the child reported; 0 is success.
    private static func check(_ errno: CInt?, _ call: String) throws {
        // End of file: the child was killed.
        guard let errno else { throw Failure.Cause.killedChild }
        if errno != 0 { throw SyscallFailure(call, path: "user namespace", code: errno) }
    }

    /// Reads the next int from the child; nil at end of file.
    private static func readReport(_ pipe: borrowing File) throws(SyscallFailure) -> CInt? {
        var bytes = [UInt8]()
        try pipe.read(into: &bytes, limit: 4)
        return bytes.count == 4 ? bytes.reversed().reduce(0) { $0 << 8 | CInt($1) } : nil
    }

    private static func writeMaps(_ kind: Kind, _ ranges: SubordinateIDs?, of child: CInt) throws {
        if kind == .subordinate, let ranges {
            for (program, own, ranges) in [
                ("newuidmap", geteuid(), ranges.users), ("newgidmap", getegid(), ranges.groups),
            ] {
                var words = ["\(child)", "0", "\(own)", "1"]
                var next: UInt64 = 1
                for range in ranges {
                    words += ["\(next)", "\(range.first)", "\(range.count)"]
                    next += range.count
                }
                let (status, _) = try Process.run(program, words)
                if status != 0 { throw Failure.Cause.refusedMap(program: program) }
            }
            return
        }
        // An unprivileged process may map a group only after denying setgroups (user_namespaces(7)).
        for (name, text) in [
            ("setgroups", "deny"), ("uid_map", "0 \(geteuid()) 1"), ("gid_map", "0 \(getegid()) 1"),
        ] {
            let file = try File.open(FilePath("/proc/\(child)/\(name)"), .readWrite)
            try Array(text.utf8).withRawSpan { span throws(SyscallFailure) in try file.write(span) }
        }
    }
}

/// The subordinate IDs of an unprivileged user (subuid(5), subgid(5)).
package struct SubordinateIDs: Sendable {
    package struct Range: Equatable, Sendable {
        package let first: UInt64
        package let count: UInt64

        package init(first: UInt64, count: UInt64) {
            self.first = first
            self.count = count
        }
    }

    package let users: [Range]
    package let groups: [Range]

    /// - Returns: nil if the user has no subordinate user IDs or no group IDs.
    package static func ofThisUser() -> SubordinateIDs? {
        func lines(_ path: FilePath) -> String {
            String(decoding: (try? File.contents(of: path)) ?? [], as: UTF8.self)
        }
        let uid = geteuid()
        let name = getpwuid(uid).flatMap { $0.pointee.pw_name.map { String(cString: $0) } }
        let ids = SubordinateIDs(
            users: ranges(lines("/etc/subuid"), of: name, uid),
            groups: ranges(lines("/etc/subgid"), of: name, uid))
        return ids.users.isEmpty || ids.groups.isEmpty ? nil : ids
    }

    /// Parses lines of `name:first:count`, where the name may be a numeric ID; invalid lines are ignored.
    package static func ranges(_ text: String, of name: String?, _ uid: UInt32) -> [Range] {
        text.split(separator: "\n").compactMap { line in
            let fields = line.split(separator: ":", omittingEmptySubsequences: false)
            guard fields.count == 3, String(fields[0]) == name || fields[0] == "\(uid)",
                let first = UInt64(fields[1]), let count = UInt64(fields[2]), count > 0
            else { return nil }
            return Range(first: first, count: count)
        }
    }
}

extension UserNamespace {
    /// A setting of the host that may forbid user namespaces to unprivileged users, and how to change it.
    package struct Restriction: Sendable {
        package let description: String
        package let remedy: String
    }

    /// - Returns: the first such setting; nil if none is found.
    package static func restriction() -> Restriction? {
        func setting(_ path: FilePath) -> String? {
            (try? File.contents(of: path)).map { String(decoding: $0.filter { $0 > 0x20 }, as: UTF8.self) }
        }
        if setting("/proc/sys/kernel/unprivileged_userns_clone") == "0" {
            return Restriction(
                description: "kernel.unprivileged_userns_clone is 0",
                remedy: "sudo sysctl -w kernel.unprivileged_userns_clone=1")
        }
        if setting("/proc/sys/user/max_user_namespaces") == "0" {
            return Restriction(
                description: "user.max_user_namespaces is 0",
                remedy: "sudo sysctl -w user.max_user_namespaces=10000")
        }
        if setting("/proc/sys/kernel/apparmor_restrict_unprivileged_userns") == "1" {
            return Restriction(
                description:
                    "AppArmor restricts user namespaces (kernel.apparmor_restrict_unprivileged_userns is 1)",
                remedy:
                    "sudo sysctl -w kernel.apparmor_restrict_unprivileged_userns=0, or an AppArmor profile for unpack"
            )
        }
        let status = String(decoding: (try? File.contents(of: "/proc/self/status")) ?? [], as: UTF8.self)
        if status.contains("\nSeccomp:\t2") {
            return Restriction(
                description: "a seccomp filter is active, as in an unprivileged container",
                remedy: "start the container with --security-opt seccomp=unconfined, or --privileged")
        }
        return nil
    }
}
