internal import Kernel
internal import SystemPackage

/// The datasets of a store: children of the dataset that is mounted on its root directory. The program zfs(8) manages
/// them, because the ioctls of ZFS are private to it.
///
/// The dataset of a snapshot is called by its number. Its user property `unpack:snapshot` has the same number, which
/// distinguishes it from datasets that others have made. That of a committed snapshot has a ZFS snapshot `@snapshot`,
/// which cannot be changed, and of which the snapshots on it are clones.
struct ZfsDatasets: Sendable {
    /// The dataset that is mounted on the store's root, e.g. `tank/unpack`.
    let parent: String

    /// E.g. `tank/unpack/12`.
    func name(_ number: Int64) -> String { "\(parent)/\(number)" }

    /// E.g. `tank/unpack/12@snapshot`.
    func committedName(_ number: Int64) -> String { "\(name(number))@snapshot" }

    private static let mark = "unpack:snapshot"

    /// The parent's settings are inherited otherwise, and must not change what layers can contain, how the kernel treats
    /// it, or which other program takes snapshots of it.
    private func properties(_ number: Int64) -> [String] {
        [
            "mountpoint=legacy", "\(Self.mark)=\(number)", "com.sun:auto-snapshot=false", "readonly=off",
            "devices=on", "setuid=on", "exec=on", "acltype=posixacl", "xattr=sa",
        ].flatMap { ["-o", $0] }
    }

    /// Properties that only a new dataset can be given; a clone has those of its origin.
    private static let properties = [
        "casesensitivity=sensitive", "normalization=none", "utf8only=off",
    ].flatMap { ["-o", $0] }

    /// Makes an empty dataset.
    func create(_ number: Int64) throws(SyscallFailure) {
        try replacing(number) { () throws(SyscallFailure) in
            try run(["create"] + properties(number) + Self.properties, name(number))
        }
    }

    /// Makes a dataset with the content of a committed one.
    func clone(_ number: Int64, of origin: Int64) throws(SyscallFailure) {
        try replacing(number) { () throws(SyscallFailure) in
            try run(["clone"] + properties(number) + [committedName(origin)], name(number))
        }
    }

    /// Runs a step that makes a dataset; what an interrupted run has left under its number is destroyed.
    private func replacing(
        _ number: Int64, _ make: () throws(SyscallFailure) -> Void
    ) throws(SyscallFailure) {
        do {
            try make()
        } catch {
            guard error.isExistingFile else { throw error }
            try destroy(number)
            try make()
        }
    }

    /// Takes the ZFS snapshot of a dataset, which is on the disk when this returns. That of an earlier commit that failed
    /// is replaced.
    func commit(_ number: Int64) throws(SyscallFailure) {
        let name = committedName(number)
        do {
            try run(["snapshot"], name)
        } catch {
            guard error.isExistingFile else { throw error }
            try run(["destroy"], name)
            try run(["snapshot"], name)
        }
    }

    /// Destroys a dataset; a missing one is no error.
    ///
    /// - Throws: EBUSY if it is mounted or held; ENOTEMPTY with the reason if it has clones, or if a dataset or a ZFS
    ///   snapshot that this program has not made depends on it; EEXIST for a dataset that this program has not made.
    func destroy(_ number: Int64) throws(SyscallFailure) {
        let name = name(number)
        let found: [Dataset]
        do {
            found = Self.datasets(
                try run(["list", "-Hp", "-d", "1", "-t", "all", "-o", "name,\(Self.mark)"], name))
        } catch {
            if error.isMissing { return }
            throw error
        }
        guard let own = found.first(where: { $0.name == name }), own.mark == "\(number)" else {
            throw SyscallFailure(
                "zfs destroy", path: escaped(name.utf8), errno: .fileExists,
                cause: .message("the dataset is not one of unpack's"))
        }
        let committed = committedName(number)
        if let foreign = found.first(where: { ![name, committed].contains($0.name) }) {
            throw SyscallFailure(
                "zfs destroy", path: escaped(name.utf8), errno: .directoryNotEmpty,
                cause: .message("'\(foreign.name)' keeps it; run: zfs destroy \(foreign.name)"))
        }
        if found.contains(where: { $0.name == committed }) { try run(["destroy"], committed) }
        try run(["destroy"], name)
    }

    /// Bytes that only this dataset has, without those that it shares with its origin.
    func usedBytes(_ number: Int64) throws(SyscallFailure) -> Int64 {
        let text = try run(["get", "-Hp", "-o", "value", "used"], name(number))
        return Int64(text.filter { !$0.isWhitespace }) ?? 0
    }

    struct Dataset: Equatable {
        let name: String
        /// The value of the property `unpack:snapshot`, or `-`.
        let mark: String
    }

    /// - Parameter text: a line for each, with the two separated by a tab; a name may have spaces.
    static func datasets(_ text: String) -> [Dataset] {
        text.split(separator: "\n").compactMap { line in
            let fields = line.split(separator: "\t")
            return fields.count == 2 ? Dataset(name: String(fields[0]), mark: String(fields[1])) : nil
        }
    }

    // MARK: The program

    static let program = "zfs"

    /// - Returns: what it prints.
    /// - Throws: ENOENT for a missing dataset, ENOSYS for a missing program, EEXIST, EBUSY, ENOTEMPTY, ENOSPC, EACCES; EIO for all else.
    @discardableResult
    private func run(_ arguments: [String], _ dataset: String) throws(SyscallFailure) -> String {
        let result: (status: Int32, text: String)
        do {
            result = try Process.run(Self.program, arguments + [dataset], keepsOutput: true)
        } catch {
            // ENOENT would mean that the dataset is missing.
            guard error.isMissing else { throw error }
            throw SyscallFailure(
                "zfs \(arguments[0])", path: escaped(dataset.utf8), errno: .noFunction,
                cause: .message("the program zfs is not installed"))
        }
        if result.status == 0 { return result.text }
        let message = Self.message(in: result.text)
        throw SyscallFailure(
            "zfs \(arguments[0])", path: escaped(dataset.utf8), errno: Self.errno(of: message),
            cause: .message(message))
    }

    /// The reason at the end of the first line: `cannot destroy 'tank/a': dataset is busy`.
    static func message(in text: String) -> String {
        let line = text.split(separator: "\n").first.map(String.init) ?? "it gives no reason"
        return line.split(separator: "': ", maxSplits: 1).last.map(String.init) ?? line
    }

    static func errno(of message: String) -> Errno {
        let meanings: [(String, Errno)] = [
            ("does not exist", .noSuchFileOrDirectory), ("already exists", .fileExists),
            ("busy", .resourceBusy),
            ("has children", .directoryNotEmpty),
            ("dependent clones", .directoryNotEmpty), ("out of space", .noSpace),
            ("quota exceeded", .diskQuotaExceeded), ("permission denied", .permissionDenied),
        ]
        return meanings.first { message.contains($0.0) }?.1 ?? .ioError
    }
}
