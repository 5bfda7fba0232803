import TestSupport
import Testing

/// Defects that the comparison with the model has found, each with as few entries as possible.
@Suite(
    "Regressions found by comparison with the model",
    .enabled(
        if: TestEnvironment.canApplyLayers && TestEnvironment.canMountOverlay,
        "no directory that supports all metadata, or no overlay mounts"))
struct RegressionTests {
    @Test(
        "A hard-link group stays together, whatever other entries its layer has for its names",
        arguments: [
            Row(
                "a whiteout below one of its names", below: [.file("a", "1")],
                layer: [.hardLink("n", to: "a"), .whiteout("a/x")], shows: ["a=1", "n==a"]),
            Row(
                "an entry through one of its names, a symlink",
                below: [.symlink("a", to: "d"), .directory("d")],
                layer: [.hardLink("n", to: "a"), .file("a/x", "2")], shows: ["a->d", "d/", "d/x=2", "n==a"]),
            Row(
                "a device 0:0 for one of its names", below: [.file("a", "1")],
                layer: [.hardLink("n", to: "a"), .character("a", 0, 0)], shows: ["a=1", "n==a"]),
            Row(
                "a file in place of its directory, and a directory again", below: [.file("d/a", "1")],
                layer: [.hardLink("n", to: "d/a"), .file("d", "2"), .directory("d")],
                shows: ["d/", "d/a=1", "n==d/a"]),
            Row(
                "a device 0:0 for its directory", below: [.file("d/a", "1")],
                layer: [.hardLink("n", to: "d/a"), .character("d", 0, 0)], shows: ["d/", "d/a=1", "n==d/a"]),
            Row(
                "the first new name of a hidden one is replaced", below: [.file("a", "1")],
                layer: [
                    .whiteout("a"), .hardLink("m", to: "a"), .hardLink("n", to: "a"), .file("m", "2"),
                    .hardLink("o", to: "a"),
                ], shows: ["m=2", "n=1", "o==n"]),
        ])
    func groups(row: Row) throws { try row.check(row.layer) }

    @Test(
        "A valid layer is not refused",
        arguments: [
            Row(
                "a name below a lower link to itself, which a directory replaces later",
                below: [.symlink("a", to: "a")], layer: [.file("a/x", "2"), .directory("a")],
                shows: ["a/", "a/x=2"]),
            Row(
                "a hard link to a file at the path of a hidden lower symlink",
                below: [.symlink("l", to: "d"), .directory("d")],
                layer: [.file("l/f", "2"), .whiteout("l"), .hardLink("h", to: "l/f")],
                shows: ["d/", "h=2", "l/", "l/f==h"]),
            Row(
                "a name below a lower link to a file, which is hidden later",
                below: [.symlink("l", to: "f")],
                layer: [.file("f", "2"), .file("l/x", "2"), .whiteout("l")], shows: ["f=2", "l/", "l/x=2"]),
            Row(
                "a directory in place of a name that a hard link has copied up", below: [.file("a", "1")],
                layer: [.whiteout("a/x"), .hardLink("n", to: "a"), .file("a/y", "2")],
                shows: ["a/", "a/y=2", "n=1"]),
            Row(
                "a hard link to a lower symlink that an entry traverses",
                below: [.symlink("l", to: "d"), .directory("d")],
                layer: [.file("l/f", "2"), .hardLink("n", to: "l")],
                shows: ["d/", "d/f=2", "l->d", "n==l"]),
            Row(
                "the same hard link twice, to a hidden file", below: [.file("a", "1")],
                layer: [.whiteout("a"), .hardLink("n", to: "a"), .hardLink("n", to: "a")], shows: ["n=1"]),
            Row(
                "a directory with an invalid capability, which another entry replaces",
                layer: [
                    .directory("d").xattr("security.capability", "none"), .directory("e"), .directory("d"),
                ],
                shows: ["d/", "e/"]),
            Row(
                "a user attribute on a hard link to a symlink",
                layer: [.symlink("a", to: "x"), .hardLink("b", to: "a").xattr("user.a", "1")],
                shows: ["a->x", "b==a"]),
        ])
    func inOrder(row: Row) throws { try row.check(row.layer) }

    @Test(
        "A path is resolved at its entry's turn, unless the layer hides a symlink on it",
        arguments: [
            Row(
                "replaced by an entry that traversed it", below: [.symlink("a", to: ".")],
                layer: [.symlink("a/a", to: "n"), .file("a/x", "2")], shows: ["a->n", "n/", "n/x=2"]),
            Row(
                "its directory is hidden later", below: [.symlink("b/a", to: "/d"), .directory("d")],
                layer: [.file("b/a/x", "2"), .whiteout("b")], shows: ["b/", "b/a/", "b/a/x=2", "d/"]),
        ])
    func symlinks(row: Row) throws { try row.check(row.layer) }

    @Test(
        "A whiteout applies although its directory was replaced and created again",
        arguments: [
            Row(
                "of a file", below: [.file("d/a", "1")],
                layer: [.whiteout("d/a"), .file("d", "2"), .directory("d")], shows: ["d/"]),
            Row(
                "of everything", below: [.file("d/a", "1")],
                layer: [.opaque("d"), .file("d", "2"), .directory("d")], shows: ["d/"]),
            Row(
                "of a file, and then a device 0:0", below: [.file("d/a", "1")],
                layer: [.whiteout("d/a"), .character("d", 0, 0)], shows: ["d/"]),
        ])
    func inBetween(row: Row) throws { try row.check(row.layer) }

    @Test(
        "The parent directory of a device 0:0 is created, also in a layer with hard links",
        arguments: [
            Row(
                "after the hard link", below: [.file("a", "1")],
                layer: [.hardLink("n", to: "a"), .character("d/x", 0, 0)],
                shows: ["a=1", "d/", "n==a"])
        ])
    func forged(row: Row) throws { try row.check(row.layer) }
}
