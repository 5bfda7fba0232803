import Layers
import TestSupport
import Testing

/// A file of one type, always under the name `x`.
private struct Kind: Sendable, CustomStringConvertible {
    let description: String
    let entries: [TarEntry]
    let shows: [String]

    static let all = [
        Kind(description: "file", entries: [.file("x", "1")], shows: ["x=1"]),
        Kind(
            description: "directory", entries: [.directory("x"), .directory("x/s"), .file("x/s/f", "1")],
            shows: ["x/", "x/s/", "x/s/f=1"]),
        Kind(description: "empty directory", entries: [.directory("x")], shows: ["x/"]),
        Kind(description: "symlink to a file", entries: [.symlink("x", to: "t/f")], shows: ["x->t/f"]),
        Kind(description: "symlink to a directory", entries: [.symlink("x", to: "t")], shows: ["x->t"]),
        Kind(description: "dangling symlink", entries: [.symlink("x", to: "nowhere")], shows: ["x->nowhere"]),
        Kind(description: "FIFO", entries: [.fifo("x")], shows: ["x|"]),
        Kind(description: "character device", entries: [.character("x", 1, 3)], shows: ["x(1:3)"]),
        Kind(description: "block device", entries: [.block("x", 7, 1)], shows: ["x(7:1)"]),
        Kind(description: "hard link", entries: [.hardLink("x", to: "t/f")], shows: ["x==t/f"]),
    ]
}

private let target: [TarEntry] = [.directory("t"), .file("t/f", "t")]
private let targetShown = ["t/", "t/f=t"]

@Suite("Replacing", .enabled(if: TestEnvironment.canApplyLayers, "no directory that supports all metadata"))
struct ReplacingTests {
    @Test("The last entry of a path wins, in one layer and in two", arguments: Kind.all, Kind.all)
    fileprivate func replaces(old: Kind, new: Kind) throws {
        let areDirectories = old.shows[0] == "x/" && new.shows[0] == "x/"
        let shows = areDirectories ? Set(old.shows + new.shows).sorted() : new.shows
        try Row("one layer", layer: target + old.entries + new.entries, shows: targetShown + shows).check(
            target + old.entries + new.entries)
        let row = Row(
            "two layers", below: target + old.entries, layer: new.entries, shows: targetShown + shows)
        try row.check(new.entries)
    }

    @Test("A layer may hide a file and add a file of any type at its path", arguments: Kind.all, Kind.all)
    fileprivate func hidesAndReplaces(old: Kind, new: Kind) throws {
        let layer = [TarEntry.whiteout("x")] + new.entries
        try Row("", below: target + old.entries, layer: layer, shows: targetShown + new.shows).check(layer)
    }

    @Test(
        "No content of a replaced file or directory remains",
        arguments: [
            Row(
                "file, then directory",
                layer: [
                    .directory("x"), .file("x/f", "1"), .file("x", "2"), .directory("x"), .file("x/g", "3"),
                ],
                shows: ["x/", "x/g=3"]),
            Row(
                "symlink, implicit directory",
                layer: [.file("x/f", "1"), .symlink("x", to: "y"), .file("x/g", "2")],
                shows: ["x->y", "y/", "y/g=2"]),
            Row(
                "children through a symlink of this layer",
                layer: [
                    .directory("y"), .symlink("x", to: "y"), .file("x/f", "1"), .directory("x"),
                    .file("x/f", "2"),
                ],
                shows: ["x/", "x/f=2", "y/", "y/f=1"]),
            Row(
                "a file twice", layer: [.file("x", "long content"), .file("x", "s")], shows: ["x=s"]),
            Row(
                "one of two hard links", layer: [.file("a", "1"), .hardLink("b", to: "a"), .file("a", "2")],
                shows: ["a=2", "b=1"]),
            Row(
                "a directory above a file that hides a lower directory", below: [.file("x/f", "1")],
                [.file("x", "2")],
                layer: [.file("x/g", "3")], shows: ["x/", "x/g=3"]),
        ])
    func removesReplacedContent(row: Row) throws { try row.check(row.layer) }

    @Test(
        "An entry whose parent is a file is refused",
        arguments: [[.file("x", "1"), .file("x/y", "2")], [.fifo("x"), .whiteout("x/y")]] as [[TarEntry]])
    func belowFile(layer: [TarEntry]) {
        #expect(throws: LayerFailure.self) { try Stack([layer]) }
    }

    @Test(
        "The root can only be a directory",
        arguments: [.file("/", ""), .symlink("./", to: "x"), .file("..", "x"), .fifo(".")] as [TarEntry])
    func root(entry: TarEntry) {
        #expect(throws: LayerFailure.self) { try Stack([[entry]]) }
    }
}
