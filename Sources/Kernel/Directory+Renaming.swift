internal import CKernel

/// Renames of entries (renameat2(2)).
extension Directory {
    /// - Parameter target: a directory of the same file system; nil for this one.
    package func rename(
        _ name: FileName, to newName: FileName, in target: Directory? = nil
    ) throws(SyscallFailure) {
        let there = target?.raw ?? raw
        try syscall("renameat2", name.description, in: raw) {
            name.withCString { from in newName.withCString { to in ck_renameat2(raw, from, there, to, 0) } }
        }
    }

    /// Moves an entry to another directory without replacing one there (renameat2(2), RENAME_NOREPLACE).
    ///
    /// - Throws: EEXIST if the name exists there.
    package func renameNotReplacing(
        _ name: FileName, to newName: FileName? = nil, in target: Directory
    ) throws(SyscallFailure) {
        let there = target.raw
        let newName = newName ?? name
        try syscall("renameat2", newName.description, in: raw) {
            name.withCString { from in
                newName.withCString { to in ck_renameat2(raw, from, there, to, ck_rename_noreplace) }
            }
        }
    }

    /// Exchanges two entries of this directory atomically (renameat2(2), RENAME_EXCHANGE).
    ///
    /// - Throws: ENOENT if either is missing; EINVAL if the file system cannot exchange entries.
    package func exchange(_ a: FileName, _ b: FileName) throws(SyscallFailure) {
        try syscall("renameat2", a.description) {
            a.withCString { from in
                b.withCString { to in ck_renameat2(raw, from, raw, to, ck_rename_exchange) }
            }
        }
    }
}
