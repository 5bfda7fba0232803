import Layers
import TestSupport
import Testing

private let d = TarEntry.directory("d")
private let tree: [TarEntry] = [
    d, .file("d/a", "1"), .file("d/b", "1"), .directory("d/s"), .file("d/s/x", "1"),
]
/// Valid names whose whiteouts are longer than a file system allows.
private let long = [252, 255].map { String(repeating: "n", count: $0) }
private let treeShown = ["d/", "d/a=1", "d/b=1", "d/s/", "d/s/x=1"]

@Suite("Whiteouts", .enabled(if: TestEnvironment.canApplyLayers, "no directory that supports all metadata"))
struct WhiteoutTests {
    @Test(
        "Whiteouts apply to the layers below, in any order of the entries",
        arguments: [
            Row(
                "a file is hidden", below: tree, layer: [.whiteout("d/a")],
                shows: ["d/", "d/b=1", "d/s/", "d/s/x=1"], leaves: ["d/", "d/a!"]),
            Row("a directory is hidden", below: tree, layer: [.whiteout("d")], shows: [], leaves: ["d!"]),
            Row("a symlink is hidden", below: [.symlink("l", to: "x")], layer: [.whiteout("l")], shows: []),
            Row(
                "names of up to 255 bytes are hidden",
                below: [.file(Bytes(long[0]), "1"), d, .directory(Bytes("d/" + long[1])), .file("a", "1")],
                layer: [.whiteout(long[0]), .whiteout("d/" + long[1])],
                shows: ["a=1", "d/"], leaves: ["d/", "d/\(long[1])!", "\(long[0])!"]),
            Row(
                "a file of this layer stays", below: [.file("a", "1")],
                layer: [.whiteout("a"), .file("a", "2")],
                shows: ["a=2"], leaves: ["a=2"]),
            Row(
                "a directory of this layer is opaque", below: tree,
                layer: [.whiteout("d"), d, .file("d/n", "2")],
                shows: ["d/", "d/n=2"], leaves: ["d/!", "d/n=2"]),
            Row(
                "an implicit directory is opaque", below: tree, layer: [.whiteout("d"), .file("d/n", "2")],
                shows: ["d/", "d/n=2"], leaves: ["d/!", "d/n=2"]),
            Row(
                "a directory over a hidden file is not marked", below: [.file("d", "1")],
                layer: [.whiteout("d"), .file("d/n", "2")], shows: ["d/", "d/n=2"], leaves: ["d/", "d/n=2"]),
            Row(
                "a file over a hidden directory", below: tree, layer: [.whiteout("d"), .file("d", "2")],
                shows: ["d=2"], leaves: ["d=2"]),
            Row(
                "an opaque directory", below: tree, layer: [d, .opaque("d"), .file("d/n", "2")],
                shows: ["d/", "d/n=2"], leaves: ["d/!", "d/n=2"]),
            Row(
                "an opaque directory that is implicit", below: tree,
                layer: [.opaque("d"), .file("d/n", "2")],
                shows: ["d/", "d/n=2"], leaves: ["d/!", "d/n=2"]),
            Row(
                "an opaque directory without children", below: tree, layer: [.opaque("d")], shows: ["d/"],
                leaves: ["d/!"]),
            Row(
                "a whiteout in an opaque directory", below: tree, layer: [.opaque("d"), .whiteout("d/a")],
                shows: ["d/"], leaves: ["d/!"]),
            Row(
                "only the inner directory is opaque", below: tree,
                layer: [.opaque("d/s"), .file("d/s/n", "2")],
                shows: ["d/", "d/a=1", "d/b=1", "d/s/", "d/s/n=2"], leaves: ["d/", "d/s/!", "d/s/n=2"]),
            Row(
                "whiteouts below a whiteout", below: tree, layer: [.whiteout("d"), .whiteout("d/a")],
                shows: [],
                leaves: ["d!"]),
            Row(
                "a symlink that an entry would traverse", below: [.symlink("x", to: "z"), .directory("z")],
                layer: [.file("x/y", "2"), .whiteout("x")], shows: ["x/", "x/y=2", "z/"],
                leaves: ["x/", "x/y=2"]),
            Row(
                "a symlink that becomes a directory", below: [.symlink("x", to: "z"), .directory("z")],
                layer: [.file("x/y", "2"), .directory("x")], shows: ["x/", "x/y=2", "z/"],
                leaves: ["x/", "x/y=2"]),
            Row(
                "a symlink in an opaque directory",
                below: [d, .symlink("d/x", to: "/z"), .directory("z")],
                layer: [.file("d/x/y", "2"), .opaque("d")], shows: ["d/", "d/x/", "d/x/y=2", "z/"],
                leaves: ["d/!", "d/x/", "d/x/y=2"]),
            Row(
                "twice the same", below: tree, layer: [.whiteout("d/a"), .whiteout("d/a")],
                shows: ["d/", "d/b=1", "d/s/", "d/s/x=1"]),
        ])
    func anyOrder(row: Row) throws {
        for order in permutations(row.layer) { try row.check(order) }
    }

    @Test(
        "A whiteout that hides nothing leaves nothing in the layer's directory",
        arguments: [
            Row("lowest layer", layer: [.whiteout("a"), .opaque("d"), .opaque("")], shows: [], leaves: []),
            Row(
                "beside files", layer: [.file("d/f", "1"), .whiteout("d/a")], shows: ["d/", "d/f=1"],
                leaves: ["d/", "d/f=1"]),
            Row("no such file", below: tree, layer: [.whiteout("d/n")], shows: treeShown, leaves: []),
            Row("no such directory", below: tree, layer: [.whiteout("n/a")], shows: treeShown, leaves: []),
            Row("no such opaque directory", below: tree, layer: [.opaque("n")], shows: treeShown, leaves: []),
            Row("below a file", below: tree, layer: [.whiteout("d/a/x")], shows: treeShown, leaves: []),
            Row(
                "hidden already", below: tree, [.whiteout("d/a")], layer: [.whiteout("d/a")],
                shows: ["d/", "d/b=1", "d/s/", "d/s/x=1"], leaves: []),
            Row(
                "below a directory that is hidden already", below: tree, [.whiteout("d")],
                layer: [.whiteout("d/a")],
                shows: [],
                leaves: []),
            Row(
                "in a directory that was created again", below: tree, [.whiteout("d"), d],
                layer: [.whiteout("d/a")],
                shows: ["d/"], leaves: []),
        ])
    func nothing(row: Row) throws { try row.check(row.layer) }

    @Test(
        "An opaque mark at the root hides everything in the layers below",
        arguments: [
            Row(
                "alone", below: tree + [.file("f", "1")], layer: [.opaque("")], shows: [],
                leaves: ["d!", "f!"]),
            Row(
                "with a file and a directory", below: tree + [.file("f", "1"), .file("g", "1")],
                layer: [.opaque(""), .file("f", "2"), .file("d/n", "2"), .file("e/n", "2")],
                shows: ["d/", "d/n=2", "e/", "e/n=2", "f=2"],
                leaves: ["d/!", "d/n=2", "e/", "e/n=2", "f=2", "g!"]),
            Row(
                "with a directory over a file", below: [.file("d", "1")],
                layer: [.opaque(""), .file("d/n", "2")], shows: ["d/", "d/n=2"]),
            Row(
                "over several layers", below: tree, [.whiteout("d/a"), .file("f", "2")],
                layer: [.opaque(""), .file("d/a", "3")], shows: ["d/", "d/a=3"]),
        ])
    func root(row: Row) throws {
        try row.check(row.layer)
        try row.check(row.layer.reversed())
    }

    @Test(
        "A later layer can add a hidden file again",
        arguments: [
            Row(
                "a file", below: [.file("a", "1")], [.whiteout("a")], layer: [.file("a", "3")], shows: ["a=3"]
            ),
            Row(
                "a directory", below: tree, [.whiteout("d")], layer: [.file("d/n", "3")],
                shows: ["d/", "d/n=3"]),
            Row(
                "a child of an opaque one", below: tree, [.opaque("d")], layer: [.file("d/a", "3")],
                shows: ["d/", "d/a=3"]),
        ])
    func again(row: Row) throws { try row.check(row.layer) }

    @Test(
        "A whiteout whose path has a symlink of the layers below follows it",
        arguments: [
            Row(
                "relative", below: tree, [.symlink("l", to: "d")], layer: [.whiteout("l/a")],
                shows: ["d/", "d/b=1", "d/s/", "d/s/x=1", "l->d"], leaves: ["d/", "d/a!"]),
            Row(
                "absolute", below: tree, [.symlink("l", to: "/d/s")], layer: [.whiteout("l/x")],
                shows: ["d/", "d/a=1", "d/b=1", "d/s/", "l->/d/s"]),
            Row(
                "opaque", below: tree, [.symlink("l", to: "d/s/../s")], layer: [.opaque("l")],
                shows: ["d/", "d/a=1", "d/b=1", "d/s/", "l->d/s/../s"]),
            Row(
                "the link itself", below: tree, [.symlink("l", to: "d")], layer: [.whiteout("l")],
                shows: treeShown),
        ])
    func symlinks(row: Row) throws { try row.check(row.layer) }

    @Test(
        "AUFS bookkeeping at the root is ignored",
        arguments: [
            [.directory(".wh..wh.plnk"), .file(".wh..wh.plnk/12.34", "x")], [.file(".wh..wh.aufs")],
            [.directory(".wh..wh.orph")],
        ] as [[TarEntry]])
    func bookkeeping(entries: [TarEntry]) throws {
        try Row("", below: tree, layer: entries + [.file("n", "2")], shows: treeShown + ["n=2"]).check(
            entries + [.file("n", "2")])
    }

    @Test("Files in AUFS's pseudo-link directory are only targets of hard links")
    func pseudoLinks() throws {
        let file: TarEntry = .file(".wh..wh.plnk/12.34", "kept")
        let links: [TarEntry] = [
            .hardLink("d/one", to: ".wh..wh.plnk/12.34"), .hardLink("two", to: ".wh..wh.plnk/12.34"),
        ]
        let layer = [file] + links
        try Row(
            "", below: tree, layer: layer, shows: (treeShown + ["d/one=kept", "two==d/one"]).sorted(),
            leaves: ["d/", "d/one=kept", "two==d/one"]
        ).check(layer)
    }

    @Test(
        "A path through a symlink to a whiteout name is refused, and so is a hard link to such a name",
        arguments: [".wh.x", "/.wh..wh.plnk", ".wh..wh.unpack", "d/../.wh.x"])
    func symlinkToWhiteout(target: String) throws {
        let layer: [TarEntry] = [.file("a"), .symlink("l", to: Bytes(target)), .file("l/f")]
        #expect(throws: LayerFailure.self) { try Stack([layer]) }
        #expect(throws: LayerFailure.self) { try Stack(layer.map { [$0] }) }
        // With a copied-up file, so that a file of that name exists.
        let link: [TarEntry] = [.hardLink("h", to: "a"), .hardLink("i", to: ".wh..wh.unpack/0")]
        #expect(throws: LayerFailure.self) { try Stack([[.file("a")], link]) }
    }

    @Test(
        "A whiteout without a valid name is refused",
        arguments: [
            ".wh.", ".wh..", ".wh...", "d/.wh.", "d/.wh...", "d/.wh.x/y", ".wh.x/y", "d/.wh..wh.plnk/y",
        ])
    func refused(path: String) throws {
        let failure = #expect(throws: LayerFailure.self) { try Stack([tree, [.file(Bytes(path))]]) }
        guard case .refused = failure?.cause else {
            Issue.record("\(String(describing: failure))")
            return
        }
        #expect(failure?.entry == path)
    }
}
