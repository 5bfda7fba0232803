import Layers
import TestSupport
import Testing

private let d = TarEntry.directory("d", mode: 0o2751).owned(5, 6).at(-7, 8).xattr("user.a", "1")
private let dMetadata = "d 2751 5:6 -7.000000008 user.a=31"

@Suite(
    "Implicit parents",
    .enabled(if: TestEnvironment.canApplyLayers, "no directory that supports all metadata"))
struct ParentTests {
    private let implicit = "d 0755 0:0 0.000000000"

    @Test(
        "A directory that no entry lists has the metadata of the layers below, or else the default",
        arguments: [
            ([[.file("d/f")]], "d 0755 0:0 0.000000000"),
            ([[.file("d/f"), d]], dMetadata),
            ([[d], [.file("d/f")]], dMetadata),
            ([[d], [.file("d/f")], [.file("d/g")]], dMetadata),
            ([[d, .file("d/x")], [.whiteout("d/x")]], dMetadata),
            ([[d], [.file("d/f"), .whiteout("d")]], "d 0755 0:0 0.000000000"),
            ([[d], [.opaque("d"), .file("d/f")]], dMetadata),
            ([[d], [.whiteout("d")], [.file("d/f")]], "d 0755 0:0 0.000000000"),
            ([[.file("d")], [.file("d/f")]], "d 0755 0:0 0.000000000"),
            ([[d], [.directory("d", mode: 0o700), .file("d/f")]], "d 0700 0:0 0.000000000"),
            ([[d], [.file("d/f"), .directory("d", mode: 0o700)]], "d 0700 0:0 0.000000000"),
            ([[d, .directory("d/e")], [.file("d/e/f")]], dMetadata),
            (
                [[d, .directory("d/e")], [.hardLink("d/e/f", to: "d/e/../g"), .file("d/g")].reversed()],
                dMetadata
            ),
        ] as [([[TarEntry]], String)])
    func metadata(layers: [[TarEntry]], expected: String) throws {
        let stack = try Stack(layers)
        let seen = try stack.tree["d"]
        #expect(seen == expected)
    }

    @Test(
        "The root has the metadata of its entry, of the layers below, or the default",
        arguments: [
            ([[.file("f")]], "d 0755 0:0 0.000000000"),
            ([[.directory("./", mode: 0o711).owned(1, 2).at(3, 4), .file("f")]], "d 0711 1:2 3.000000004"),
            ([[.directory("/", mode: 0o1777)], [.file("f")]], "d 1777 0:0 0.000000000"),
            ([[.directory("/", mode: 0o700)], [.directory("./", mode: 0o750)]], "d 0750 0:0 0.000000000"),
            ([[.directory("/", mode: 0o1777)], [.opaque("")]], "d 1777 0:0 0.000000000"),
        ] as [([[TarEntry]], String)])
    func root(layers: [[TarEntry]], expected: String) throws {
        let stack = try Stack(layers)
        let seen = try stack.tree["."]
        #expect(seen == expected)
    }

    @Test(
        "A path follows symlinks to directories",
        arguments: [
            Row(
                "in the layer below", below: [.directory("usr/lib"), .symlink("lib", to: "usr/lib")],
                layer: [.file("lib/x", "2")], shows: ["lib->usr/lib", "usr/", "usr/lib/", "usr/lib/x=2"],
                leaves: ["usr/", "usr/lib/", "usr/lib/x=2"]),
            Row(
                "in this layer",
                layer: [.directory("usr/lib"), .symlink("lib", to: "/usr/lib"), .file("lib/x", "1")],
                shows: ["lib->/usr/lib", "usr/", "usr/lib/", "usr/lib/x=1"]),
            Row(
                "absolute, in a directory",
                below: [.directory("a"), .symlink("a/l", to: "/d"), .directory("d")],
                layer: [.file("a/l/x", "2")], shows: ["a/", "a/l->/d", "d/", "d/x=2"]),
            Row(
                "two in a row", below: [.symlink("a", to: "b"), .symlink("b", to: "./c/."), .directory("c")],
                layer: [.file("a/x", "2")], shows: ["a->b", "b->./c/.", "c/", "c/x=2"]),
            Row(
                "in the middle", below: [.directory("u/l/s"), .symlink("l", to: "u/l")],
                layer: [.file("l/s/x", "2"), .directory("l/n")],
                shows: ["l->u/l", "u/", "u/l/", "u/l/n/", "u/l/s/", "u/l/s/x=2"]),
            Row(
                "above the root", below: [.symlink("a", to: "../../../d"), .directory("d")],
                layer: [.file("a/x", "2")], shows: ["a->../../../d", "d/", "d/x=2"]),
            Row(
                "to a file's own directory", below: [.symlink("d/a", to: "."), .file("d/f", "1")],
                layer: [.file("d/a/a/f", "2")], shows: ["d/", "d/a->.", "d/f=2"]),
            Row(
                "hidden by this layer", below: [.symlink("lib", to: "usr"), .directory("usr")],
                layer: [.whiteout("lib"), .file("lib/x", "2")], shows: ["lib/", "lib/x=2", "usr/"]),
            Row(
                "replaced by a directory of this layer",
                below: [.symlink("lib", to: "usr"), .directory("usr")],
                layer: [.directory("lib"), .file("lib/x", "2")], shows: ["lib/", "lib/x=2", "usr/"]),
            Row(
                "with a directory entry for it later: the link is replaced first",
                below: [.symlink("lib", to: "usr"), .directory("usr")],
                layer: [.file("lib/x", "2"), .directory("lib")], shows: ["lib/", "lib/x=2", "usr/"]),
            Row(
                "dangling: its target is created", below: [.symlink("a", to: "n/m")],
                layer: [.file("a/x", "2")],
                shows: ["a->n/m", "n/", "n/m/", "n/m/x=2"]),
        ])
    func symlinks(row: Row) throws { try row.check(row.layer) }

    @Test("A loop of symlinks on a path is refused")
    func loop() {
        let failure = #expect(throws: LayerFailure.self) {
            try Stack([[.symlink("a", to: "b"), .symlink("b", to: "a")], [.file("a/x")]])
        }
        #expect(failure?.entry == "a/x")
    }

    @Test("A path may be longer than PATH_MAX, but not deeper than the limit")
    func deep() throws {
        func layer(_ depth: Int) -> [TarEntry] {
            [.file(Bytes(String(repeating: "directory/", count: depth) + "f"), "1")]
        }
        let lines = try Stack([layer(900)]).outline
        #expect(lines.count == 901)
        #expect(lines.last?.hasSuffix("/f=1") == true)
        #expect(throws: LayerFailure.self) { try Stack([layer(5000)]) }
    }
}
