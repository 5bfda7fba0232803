import Kernel
import Layers
import TestSupport
import Testing

private let capability: Bytes = [1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]
private let capabilityHex = "0100000200200000000000000000000000000000"
private let empty = "0 sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

@Suite("Metadata", .enabled(if: TestEnvironment.canApplyLayers, "no directory that supports all metadata"))
struct MetadataTests {
    @Test(
        "A file of each type gets exactly the metadata of its entry",
        arguments: [
            (.file("x"), "- 0644 0:0 0.000000000 \(empty)"),
            (.file("x").mode(0), "- 0000 0:0 0.000000000 \(empty)"),
            (.file("x").mode(0o777).owned(7, 8), "- 0777 7:8 0.000000000 \(empty)"),
            (.file("x").mode(0o6755).owned(1000, 100), "- 6755 1000:100 0.000000000 \(empty)"),
            (.file("x").mode(0o4755), "- 4755 0:0 0.000000000 \(empty)"),
            (.file("x").mode(0o1644), "- 1644 0:0 0.000000000 \(empty)"),
            (
                .file("x").owned(4_294_967_294, 4_294_967_294),
                "- 0644 4294967294:4294967294 0.000000000 \(empty)"
            ),
            (.file("x").at(-1, 999_999_999), "- 0644 0:0 -1.999999999 \(empty)"),
            (.file("x").at(-86400 * 365 * 30), "- 0644 0:0 -946080000.000000000 \(empty)"),
            (.file("x").at(4_294_967_296, 1), "- 0644 0:0 4294967296.000000001 \(empty)"),
            (.directory("x", mode: 0o3777).owned(5, 6).at(7, 8), "d 3777 5:6 7.000000008"),
            (.directory("x", mode: 0), "d 0000 0:0 0.000000000"),
            (.symlink("x", to: "y").owned(5, 6).at(7, 8), "l 0777 5:6 7.000000008 -> y"),
            (.fifo("x").mode(0o4620).owned(5, 6).at(-7, 8), "p 4620 5:6 -7.000000008"),
            (.character("x", 4095, 1_048_575).mode(0o2666), "c 2666 0:0 0.000000000 4095:1048575"),
            (.block("x", 0, 1).mode(0o640).owned(0, 6), "b 0640 0:6 0.000000000 0:1"),
            (.block("x", 0, 0).mode(0o640), "b 0640 0:0 0.000000000 0:0"),
            (
                .file("x").mode(0o4755).owned(1, 2).xattr("security.capability", capability),
                "- 4755 1:2 0.000000000 \(empty) security.capability=\(capabilityHex)"
            ),
            (
                .file("x").xattr("user.b", [0, 10, 255]).xattr("user.a", ""),
                "- 0644 0:0 0.000000000 \(empty) user.a= user.b=000aff"
            ),
            (.directory("x").xattr("user.a", "1"), "d 0755 0:0 0.000000000 user.a=31"),
            (.symlink("x", to: "y").xattr("security.x", "1"), "l 0777 0:0 0.000000000 -> y security.x=31"),
            (.character("x", 1, 3).xattr("security.x", "1"), "c 0644 0:0 0.000000000 1:3 security.x=31"),
            (
                .file("x").xattr("security.selinux", "system_u:object_r:x_t:s0"),
                "- 0644 0:0 0.000000000 \(empty)"
            ),
        ] as [(TarEntry, String)])
    func exact(entry: TarEntry, line: String) throws {
        let found = try Stack([[entry]]).tree["x"]
        #expect(found == line)
    }

    @Test("Access control lists and default access control lists are set")
    func accessControlLists() throws {
        let access: Bytes = "user::rw-,user:7:r--,group::r--,mask::r--,other::---"
        let inherited: Bytes = "user::rwx,user:9:rwx,group::r-x,mask::rwx,other::---"
        let entries: [TarEntry] = [
            .directory("d", mode: 0o750).pax("SCHILY.acl.default", inherited), .directory("d/e"),
            .file("d/f"),
            .file("d/a").mode(0o640).pax("SCHILY.acl.access", access),
        ]
        let tree = try Stack([entries]).tree
        #expect(tree["d"]?.contains(" system.posix_acl_default=02000000") == true)
        #expect(tree["d/a"]?.contains("- 0640 0:0 0.000000000 ") == true)
        #expect(tree["d/a"]?.contains(" system.posix_acl_access=02000000") == true)
        #expect(tree["d/e"] == "d 0755 0:0 0.000000000", "nothing is inherited")
        #expect(tree["d/f"] == "- 0644 0:0 0.000000000 \(empty)", "nothing is inherited")
    }

    @Test(
        "The mode takes precedence over the mask of an access control list for every file type",
        arguments: [
            .file("x").mode(0o640), .file("x").mode(0o4640), .directory("x", mode: 0o640),
            .fifo("x").mode(0o640),
        ] as [TarEntry])
    func modeBesideList(entry: TarEntry) throws {
        let list: Bytes = "user::rw-,user:7:rw-,group::r--,mask::rw-,other::---"
        let line = try Stack([[entry.pax("SCHILY.acl.access", list)]]).tree["x"]
        #expect(line?.dropFirst(2).hasPrefix(entry.mode == 0o4640 ? "4640" : "0640") == true)
    }

    @Test("A directory's times, owner and mode do not change when files are created in it")
    func directoriesLast() throws {
        let d = TarEntry.directory("d", mode: 0o2500).owned(5, 6).at(7, 8)
        let entries: [TarEntry] = [
            d, .file("d/f"), .directory("d/s"), .symlink("d/l", to: "f"), .hardLink("d/h", to: "d/f"),
            .file("d/f", "new"), .whiteout("d/x"),
        ]
        for order in [entries, Array(entries.dropFirst() + [d])] {
            let tree = try Stack([order]).tree
            #expect(tree["d"] == "d 2500 5:6 7.000000008")
            #expect(tree["d/s"] == "d 0755 0:0 0.000000000", "no group and no setgid bit is inherited")
            #expect(tree["d/f"]?.hasPrefix("- 0644 0:0 0.000000000 3 ") == true)
        }
    }

    @Test("A directory over a directory replaces all its metadata", arguments: [1, 2])
    func replacesDirectory(layers: Int) throws {
        let old = TarEntry.directory("d", mode: 0o2777).owned(1, 2).at(3).xattr("user.old", "1")
            .pax("SCHILY.acl.default", "user::rwx,group::r-x,other::---")
        let new = TarEntry.directory("d", mode: 0o700).xattr("user.new", "2")
        let image = layers == 1 ? [[old, .file("d/f"), new]] : [[old, .file("d/f")], [new]]
        let tree = try Stack(image).tree
        #expect(tree["d"] == "d 0700 0:0 0.000000000 user.new=32")
        #expect(tree["d/f"] != nil)
    }

    @Test(
        "Attributes that control overlay or belong to the host are left out, with one warning per kind",
        arguments: [
            (.file("x").xattr("trusted.overlay.redirect", "/etc"), .overlayControl),
            (.directory("x").xattr("trusted.overlay.opaque", "y"), .overlayControl),
            (.directory("x").xattr("user.overlay.opaque", "y"), .overlayControl),
            (.symlink("x", to: "y").xattr("trusted.overlay.whiteout", ""), .overlayControl),
            (.file("x").xattr("trusted.other", "1"), .trustedAttribute),
        ] as [(TarEntry, LayerWarning.Kind)])
    func controls(entry: TarEntry, kind: LayerWarning.Kind) throws {
        let stack = try Stack([[.file("x/below", "1")], [entry, entry, .file("after")]])
        #expect(stack.warnings.map(\.kind) == [kind])
        #expect(stack.warnings.first?.entry == "x")
        let directory = try Directory(opening: stack.layers[1])
        let names = try directory.extendedAttributeNames(of: FileName(literal: "x"))
        #expect(names == [])
    }

    @Test("A character device 0:0 in an archive does not become a whiteout")
    func forgedWhiteout() throws {
        let stack = try Stack([
            [.file("x", "1"), .file("y", "1")], [.character("x", 0, 0), .file("z", "2")],
        ])
        #expect(stack.warnings.map(\.kind) == [.overlayControl])
        let top = try stack.top
        #expect(top == ["z=2"])
        let one = try Stack([[.file("x", "1"), .character("x", 0, 0), .character("d/c", 0, 0)]])
        #expect(one.warnings.map(\.count) == [2])
        let outline = try one.outline
        #expect(!outline.contains { $0.hasPrefix("x") })
    }

    @Test(
        "An attribute that the kernel refuses or cannot read again is an error that names the entry",
        arguments: ["no capability", "", "12345678901234567890"] as [Bytes], [false, true])
    func refusedAttribute(value: Bytes, isDirectory: Bool) throws {
        let plain = isDirectory ? TarEntry.directory("x") : .file("x")
        let entry = plain.xattr("security.capability", value)
        let layer = [.directory("d"), entry]
        for failure in [
            #expect(throws: LayerFailure.self) { try Stack([layer]) },
            #expect(throws: LayerFailure.self) { _ = try ImageTree([layer]) },
        ] {
            #expect(failure?.entry == "x")
        }
        // Only what the layer has in the end is refused of a directory.
        if isDirectory {
            for later in [TarEntry.directory("x"), .file("x", "1")] {
                #expect(try Stack([layer + [later]]).warnings.isEmpty)
                #expect(try ImageTree([layer + [later]]).lookUp([FileName(literal: "x")]) != nil)
            }
        }
    }

    @Test("Attributes that the file system does not support are left out, with one warning")
    func unknownAttribute() throws {
        let stack = try Stack([
            [
                .file("x").xattr("unknown.a", "1").xattr("other.b", "1"), .directory("d").xattr("c", ""),
                // The kernel supports these only on files and directories.
                .symlink("l", to: "y").xattr("user.a", "1"), .fifo("p").xattr("user.a", "1"),
            ]
        ])
        #expect(stack.warnings.map(\.kind) == [.unsupportedAttribute])
        #expect(stack.warnings.map(\.count) == [5])
    }

    @Test("Holes stay holes", arguments: Packing.allCases)
    func sparse(packing: Packing) throws {
        let entry = TarEntry.file("s", "abc").pax("GNU.sparse.size", "100000000").pax(
            "GNU.sparse.numblocks", "1"
        )
        .pax("GNU.sparse.map", "50000000,3")
        let stack = try Stack([[entry]], packing: packing)
        let status = try Directory(opening: stack.layers[0]).status(of: FileName(literal: "s"))
        #expect(status?.size == 100_000_000)
        #expect((status?.blocks ?? .max) < 1000)
    }

    @Test("The digest of a written file is known under all its names, and that of a copied-up file is not")
    func digests() throws {
        let stack = try Stack([
            [
                .file("a", "1"), .file("d/b", "2"), .hardLink("c", to: "a"), .file("d/b", "3"),
                .symlink("l", to: "a"),
            ],
            [.hardLink("e", to: "a"), .file("f"), .file("z", Bytes([UInt8](repeating: 0, count: 1 << 20)))],
        ])
        #expect(stack.knownDigests == 5)
    }
}
