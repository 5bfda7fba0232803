import Layers
import TestSupport
import Testing

@Suite("Hard links", .enabled(if: TestEnvironment.canApplyLayers, "no directory that supports all metadata"))
struct LinkTests {
    @Test(
        "A hard link gives a file another name",
        arguments: [
            Row("in one layer", layer: [.file("a", "1"), .hardLink("b", to: "a")], shows: ["a=1", "b==a"]),
            Row(
                "with any spelling of the target",
                layer: [.file("d/a", "1"), .hardLink("b", to: "/./d//x/../a")],
                shows: ["b=1", "d/", "d/a==b"]),
            Row(
                "to a symlink", layer: [.symlink("a", to: "nowhere"), .hardLink("b", to: "a")],
                shows: ["a->nowhere", "b==a"]),
            Row("to a FIFO", layer: [.fifo("a"), .hardLink("b", to: "a")], shows: ["a|", "b==a"]),
            Row(
                "to a device", layer: [.character("a", 1, 3), .hardLink("b", to: "a")],
                shows: ["a(1:3)", "b==a"]),
            Row("to itself", layer: [.file("a", "1"), .hardLink("a", to: "a")], shows: ["a=1"]),
            Row(
                "to a link of the group",
                layer: [.file("a", "1"), .hardLink("b", to: "a"), .hardLink("c", to: "b")],
                shows: ["a=1", "b==a", "c==a"]),
            Row(
                "through a symlink in the path",
                layer: [.file("d/a", "1"), .symlink("l", to: "d"), .hardLink("b", to: "l/a")],
                shows: ["b=1", "d/", "d/a==b", "l->d"]),
            Row(
                "over a directory", layer: [.file("a", "1"), .file("d/f", "1"), .hardLink("d", to: "a")],
                shows: ["a=1", "d==a"]),
            Row(
                "to a file of the layer below", below: [.file("a", "1"), .file("z", "1")],
                layer: [.hardLink("b", to: "a")], shows: ["a=1", "b==a", "z=1"], leaves: ["a=1", "b==a"]),
            Row(
                "to a symlink of the layer below", below: [.symlink("a", to: "x")],
                layer: [.hardLink("b", to: "a")],
                shows: ["a->x", "b==a"]),
            Row(
                "to a lower file in a lower directory", below: [.directory("d/e"), .file("d/e/a", "1")],
                layer: [.hardLink("d/b", to: "d/e/a")], shows: ["d/", "d/b=1", "d/e/", "d/e/a==d/b"]),
            Row(
                "to a link group of the layers below",
                below: [.file("a", "1"), .hardLink("d/b", to: "a"), .hardLink("e/c", to: "a")],
                [.whiteout("e")],
                layer: [.hardLink("n", to: "d/b")], shows: ["a=1", "d/", "d/b==a", "n==a"]),
            Row(
                "twice to a lower file that is hidden", below: [.file("a", "1")],
                layer: [.whiteout("a"), .hardLink("m", to: "a"), .hardLink("n", to: "a")],
                shows: ["m=1", "n==m"], leaves: ["a!", "m=1", "n==m"]),
            Row(
                "to a link group, one name of which becomes a directory",
                below: [.file("a", "1"), .hardLink("b", to: "a")],
                layer: [.hardLink("n", to: "a"), .file("b/new", "2")],
                shows: ["a=1", "b/", "b/new=2", "n==a"]),
            Row(
                "to a link group, one name and then its directory hidden",
                below: [.file("a", "1"), .hardLink("b/b", to: "a")],
                layer: [.hardLink("c", to: "a"), .whiteout("b/b"), .whiteout("b")], shows: ["a=1", "c==a"],
                leaves: ["a=1", "b!", "c==a"]),
            Row(
                "twice to the same lower file", below: [.file("a", "1"), .hardLink("b", to: "a")],
                layer: [.hardLink("c", to: "a"), .hardLink("e", to: "b")],
                shows: ["a=1", "b==a", "c==a", "e==a"]),
            Row(
                "to a lower file that a later entry hides", below: [.file("a", "1")],
                layer: [.hardLink("b", to: "a"), .whiteout("a")], shows: ["b=1"], leaves: ["a!", "b=1"]),
            Row(
                "to a lower file that an earlier entry hides", below: [.file("a", "1")],
                layer: [.whiteout("a"), .hardLink("b", to: "a")], shows: ["b=1"], leaves: ["a!", "b=1"]),
            Row(
                "over the lower name", below: [.file("a", "1"), .file("b", "1")],
                layer: [.hardLink("b", to: "a")],
                shows: ["a=1", "b==a"]),
            Row(
                "a new file takes a copied name", below: [.file("a", "1")],
                layer: [.hardLink("b", to: "a"), .file("a", "2")], shows: ["a=2", "b=1"]),
            Row(
                "to a group whose directory this layer makes a file",
                below: [.file("d/a", "1"), .hardLink("b", to: "d/a")],
                layer: [.file("d", "2"), .hardLink("n", to: "b")], shows: ["b=1", "d=2", "n==b"]),
            Row(
                "to a group whose directory this layer makes a link",
                below: [.file("d/a", "1"), .hardLink("b", to: "d/a"), .directory("e")],
                layer: [.symlink("d", to: "e"), .hardLink("n", to: "b")],
                shows: ["b=1", "d->e", "e/", "n==b"]),
            Row(
                "to a group whose directory an earlier entry hides",
                below: [.file("d/a", "1"), .hardLink("b", to: "d/a")],
                layer: [.whiteout("d"), .hardLink("n", to: "b")], shows: ["b=1", "n==b"]),
            Row(
                "to a group whose directory a later entry hides",
                below: [.file("d/a", "1"), .hardLink("b", to: "d/a")],
                layer: [.hardLink("n", to: "b"), .whiteout("d")], shows: ["b=1", "n==b"]),
            Row(
                "to a group whose directory a later entry makes opaque",
                below: [.file("d/a", "1"), .hardLink("b", to: "d/a")],
                layer: [.hardLink("n", to: "b"), .opaque("d")], shows: ["b=1", "d/", "n==b"]),
        ])
    func links(row: Row) throws { try row.check(row.layer) }

    @Test(
        "A hard link without a valid target is refused",
        arguments: [
            [.hardLink("b", to: "a")], [.directory("a"), .hardLink("b", to: "a")], [.hardLink("b", to: "/")],
            [.hardLink("b", to: "../../../etc/passwd")], [.hardLink("b", to: "b")],
            [.symlink("l", to: "/etc"), .hardLink("b", to: "l/passwd")],
            [.file("a", "1"), .whiteout("x"), .hardLink("b", to: "x")],
            [.file("a/f", "1"), .hardLink("a", to: "a/f")],
        ] as [[TarEntry]])
    func refused(layer: [TarEntry]) {
        #expect(throws: LayerFailure.self) { try Stack([layer]) }
        #expect(throws: LayerFailure.self) { try Stack([[.directory("other")], layer]) }
    }

    @Test("A hard link's metadata applies to all names of the file, and a capability is not lost")
    func metadata() throws {
        let capability: Bytes = [1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]
        let file = TarEntry.file("a", "1").mode(0o4755).at(1).xattr("security.capability", capability)
            .xattr("user.a", "1")
        let link = TarEntry.hardLink("b", to: "a").mode(0o4711).owned(3, 4).at(5, 6)
        let hex = "0100000200200000000000000000000000000000"
        for layers in [[[file, link]], [[file], [link]]] {
            let tree = try Stack(layers).tree
            for name in ["a", "b"] {
                let line = try #require(tree[name])
                #expect(line.hasPrefix("- 4711 3:4 5.000000006 1 sha256:"))
                #expect(line.hasSuffix(" security.capability=\(hex) user.a=31 group=a"))
            }
        }
    }
}
