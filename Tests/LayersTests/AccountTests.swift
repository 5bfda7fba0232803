import Layers
import TestSupport
import Testing

/// An access control list as setxattr(2) expects it, in hexadecimal: the owner, a user, the group, a group, the mask,
/// others.
private func list(user: UInt32, group: UInt32) -> String {
    func item(_ tag: UInt16, _ permissions: UInt16, _ id: UInt32 = .max) -> [UInt8] {
        littleEndian(tag) + littleEndian(permissions) + littleEndian(id)
    }
    let bytes =
        littleEndian(UInt32(2)) + item(1, 6) + item(2, 4, user) + item(4, 4) + item(8, 6, group) + item(16, 6)
        + item(32, 0)
    return bytes.map { String($0 >> 4, radix: 16) + String($0 & 15, radix: 16) }.joined()
}

/// An access control list as GNU tar writes it.
private let named: Bytes = "user::rw-,user:lisa:r--,group::r--,group:adm:rw-,mask::rw-,other::---"

private func journal(_ path: Bytes = "journal") -> TarEntry {
    .file(path).mode(0o660).pax("SCHILY.acl.access", named)
}

private func passwd(_ uid: Int) -> TarEntry {
    .file("etc/passwd", Bytes("root:x:0:0::/:\n+\nlisa:x:x:1::\nlisa:x:\(uid):1::/:\nlisa:x:99:99::/:\n"))
}

private func group(_ gid: Int) -> TarEntry { .file("etc/group", Bytes("root:x:0:\nadm:x:\(gid):lisa\n")) }

@Suite(
    "Access control lists with names",
    .enabled(
        if: TestEnvironment.canApplyLayers && TestEnvironment.canMountOverlay,
        "no directory that supports all metadata, or no overlay mounts"))
struct AccountTests {
    /// Checks a list in all variants and in an `ImageTree`.
    private func expect(
        _ layers: [[TarEntry]], at path: String = "journal", is expected: String?, line: Int = #line
    ) throws {
        var found = [(String, String?)]()
        for variant in Variant.supported {
            let line = try? Stack(layers, variant: variant).tree[path]
            found.append(("\(variant)", line))
        }
        let tree = try? ImageTree(layers).lines { _, _ in "" }
        let prefix = "\(path) "
        found.append(
            ("a tree", tree?.first { $0.hasPrefix(prefix) }.map { String($0.dropFirst(prefix.count)) }))
        for (variant, shown) in found {
            guard let expected else {
                #expect(shown == nil, "line \(line), \(variant)")
                continue
            }
            #expect(
                shown?.contains("system.posix_acl_access=\(expected)") == true,
                "line \(line), \(variant): \(shown ?? "refused")")
        }
    }

    @Test("Names are resolved with the image's accounts as of the layer with the list")
    func ownAccounts() throws {
        try expect([[passwd(7), group(8), journal()]], is: list(user: 7, group: 8))
        try expect([[journal(), group(8), passwd(7)]], is: list(user: 7, group: 8))
        try expect([[passwd(7), group(8)], [journal()]], is: list(user: 7, group: 8))
        try expect([[passwd(7), group(8)], [journal(), passwd(9)]], is: list(user: 9, group: 8))
        try expect([[passwd(7), group(8), journal()], [passwd(9)]], is: list(user: 7, group: 8))
        try expect([[passwd(1), passwd(7), group(8), journal()]], is: list(user: 7, group: 8))
    }

    @Test(
        "The accounts are read from the merged tree: through symlinks and hard links, without hidden files"
    )
    func shownAccounts() throws {
        let linked: [TarEntry] = [
            .directory("usr"), .file("usr/p", Bytes("lisa:x:7:1::/:\n")),
            .symlink("etc/passwd", to: "../usr/p"),
            .file("g", Bytes("adm:x:8:\n")), .hardLink("etc/group", to: "g"),
        ]
        try expect([linked + [journal()]], is: list(user: 7, group: 8))
        try expect([linked, [journal()]], is: list(user: 7, group: 8))
        try expect(
            [[.directory("real"), .symlink("etc", to: "/real"), passwd(7), group(8)], [journal()]],
            is: list(user: 7, group: 8))
        try expect([[passwd(7), group(8)], [journal(), .whiteout("etc/passwd")]], is: nil)
        try expect([[passwd(7), group(8)], [journal(), .opaque("etc")]], is: nil)
        try expect(
            [[passwd(7), group(8)], [journal(), .opaque("etc"), passwd(9), group(6)]],
            is: list(user: 9, group: 6))
    }

    @Test("IDs in an attribute take precedence over names; without IDs and accounts the entry is refused")
    func otherSources() throws {
        let text = list(user: 5, group: 6)
        let value = stride(from: 0, to: text.count, by: 2).compactMap { index in
            UInt8(text.dropFirst(index).prefix(2), radix: 16)
        }
        let both = journal().xattr("system.posix_acl_access", Bytes(value))
        try expect([[both]], is: text)
        try expect([[passwd(7), group(8), both]], is: text)
        try expect([[journal()]], is: nil)
        try expect([[passwd(7), journal()]], is: nil)
        let failure = #expect(throws: LayerFailure.self) {
            try ImageTree([[group(8), journal("var/log/journal")]])
        }
        guard case .refused(let reason) = failure?.cause else {
            return #expect(Bool(false), "\(failure as Any)")
        }
        #expect(reason == "the access control list entry 'user:lisa': the image has no such user")
        #expect(failure?.entry == "var/log/journal")
    }

    @Test("Names in default lists and of directories are resolved, even if they are not UTF-8")
    func directories() throws {
        let list: Bytes = [0x75, 0x3A, 0xFF, 0x3A, 0x72, 0x77, 0x78]  // u:\xff:rwx
        let layer: [TarEntry] = [
            .directory("d").pax("SCHILY.acl.default", "u::rwx," + list + ",g::r-x,m::rwx,o::r-x"),
            .file("etc/passwd", [0xFF, 0x3A, 0x78, 0x3A, 0x39, 0x3A, 0x31, 0x3A]),
        ]
        let line = try Stack([layer]).tree["d"]
        #expect(
            line?.contains(" system.posix_acl_default=0200000001000700ffffffff0200070009000000") == true,
            "\(line ?? "")")
    }
}
