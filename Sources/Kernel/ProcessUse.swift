package import SystemPackage

/// A process that uses a directory, so that what is mounted on it cannot be unmounted.
package struct ProcessUse: Sendable, Equatable {
    package let id: Int32
    /// The name of its program (proc(5), `comm`).
    package let name: String

    /// The processes whose working directory, root, program or open files are in a directory, as far as this process may
    /// see that.
    ///
    /// - Parameter directory: absolute and without symlinks.
    package static func all(in directory: FilePath) throws(SyscallFailure) -> [ProcessUse] {
        let processes = try Directory(opening: "/proc").names().compactMap { Int32($0.description) }
        return processes.sorted().filter { uses(directory, $0) }.map { id in
            let name = (try? File.contents(of: FilePath("/proc/\(id)/comm"))) ?? []
            return ProcessUse(id: id, name: String(decoding: name.filter { $0 != 0x0A }, as: UTF8.self))
        }
    }

    private static func uses(_ directory: FilePath, _ process: Int32) -> Bool {
        guard let folder = try? Directory(opening: FilePath("/proc/\(process)")) else { return false }
        func isInside(_ name: FileName, of folder: Directory) -> Bool {
            (try? folder.readLink(name)).map { FilePath($0).starts(with: directory) } ?? false
        }
        if links.contains(where: { isInside($0, of: folder) }) { return true }
        guard let files = try? folder.open(FileName(literal: "fd")), let names = try? files.names() else {
            return false
        }
        return names.contains { isInside($0, of: files) }
    }

    private static let links = [
        FileName(literal: "cwd"), FileName(literal: "root"), FileName(literal: "exe"),
    ]
}
