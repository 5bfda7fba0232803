import Kernel
import Layers
import SystemPackage
import TestSupport
import Testing

private let etc: [TarEntry] = [.directory("etc"), .file("/etc/passwd", "inside")]

private func withLink(to target: Bytes) -> [TarEntry] { etc + [.symlink("localetc", to: target)] }

/// The cases of containerd's breakout suite, under its names, with the results that the rules of this program require.
@Suite("Breakouts", .enabled(if: TestEnvironment.canApplyLayers, "no directory that supports all metadata"))
struct BreakoutTests {
    private let canary: TemporaryDirectory
    private let before: TreeDump

    init() throws {
        canary = try TemporaryDirectory(in: try #require(TestEnvironment.scratch))
        try canary.write("perm400", Array("canary".utf8))
        try canary.write("also-exists-outside-root", Array("canary".utf8))
        before = try TreeDump(of: try Directory(opening: canary.path))
    }

    private func expectUntouched() throws {
        let after = try TreeDump(of: try Directory(opening: canary.path))
        #expect(after == before)
    }

    @Test(
        "The cases of containerd's breakout suite stay inside the directory",
        arguments: [
            Row(
                "SymlinkAbsolute",
                layer: [
                    .directory("etc"), .symlink("localetc", to: "/etc"), .file("/localetc/unbroken", "1"),
                ],
                shows: ["etc/", "etc/unbroken=1", "localetc->/etc"]),
            Row(
                "SymlinkUpAndOut",
                layer: [
                    .directory("etc"), .directory("dummy"), .symlink("localetc", to: "/dummy/../etc"),
                    .file("/localetc/unbroken", "1"),
                ], shows: ["dummy/", "etc/", "etc/unbroken=1", "localetc->/dummy/../etc"]),
            Row(
                "SymlinkMultipleAbsolute",
                layer: [
                    .directory("etc"), .directory("dummy"), .symlink("/dummy/etc", to: "/etc"),
                    .symlink("localetc", to: "/dummy/etc"), .file("/dummy/etc/unbroken", "1"),
                ], shows: ["dummy/", "dummy/etc->/etc", "etc/", "etc/unbroken=1", "localetc->/dummy/etc"]),
            Row(
                "SymlinkMultipleRelative",
                layer: [
                    .directory("etc"), .directory("dummy"), .symlink("/dummy/etc", to: "/etc"),
                    .symlink("localetc", to: "./dummy/etc"), .file("/localetc/unbroken", "1"),
                ], shows: ["dummy/", "dummy/etc->/etc", "etc/", "etc/unbroken=1", "localetc->./dummy/etc"]),
            Row(
                "SymlinkEmptyFile",
                layer: withLink(to: "/etc") + [.file("/localetc/passwd")],
                shows: ["etc/", "etc/passwd=", "localetc->/etc"]),
            Row(
                "HardlinkRelative",
                layer: etc + [
                    .directory("breakouts"), .symlink("breakouts/d1", to: "../../etc"),
                    .hardLink("breakouts/mypasswd", to: "/breakouts/d1/passwd"),
                ],
                shows: [
                    "breakouts/", "breakouts/d1->../../etc", "breakouts/mypasswd=inside", "etc/",
                    "etc/passwd==breakouts/mypasswd",
                ]),
            Row(
                "HardlinkDownAndOut",
                layer: etc + [
                    .directory("breakouts"), .directory("downandout"),
                    .symlink("breakouts/d1", to: "../downandout/../../etc"),
                    .hardLink("breakouts/mypasswd", to: "/breakouts/d1/passwd"),
                ],
                shows: [
                    "breakouts/", "breakouts/d1->../downandout/../../etc", "breakouts/mypasswd=inside",
                    "downandout/", "etc/", "etc/passwd==breakouts/mypasswd",
                ]),
            Row(
                "HardlinkAbsolute",
                layer: withLink(to: "/etc") + [.hardLink("localpasswd", to: "/localetc/passwd")],
                shows: ["etc/", "etc/passwd=inside", "localetc->/etc", "localpasswd==etc/passwd"]),
            Row(
                "HardlinkRelativeLong",
                layer: withLink(to: "../../../../../../../etc") + [
                    .hardLink("localpasswd", to: "/localetc/passwd")
                ],
                shows: [
                    "etc/", "etc/passwd=inside", "localetc->../../../../../../../etc",
                    "localpasswd==etc/passwd",
                ]),
            Row(
                "HardlinkRelativeUpAndOut",
                layer: withLink(to: "upandout/../../../etc") + [
                    .hardLink("localpasswd", to: "/localetc/passwd")
                ],
                shows: [
                    "etc/", "etc/passwd=inside", "localetc->upandout/../../../etc", "localpasswd==etc/passwd",
                ]),
            Row(
                "HardlinkDirectRelative",
                layer: etc + [.hardLink("localpasswd", to: "../../../../../etc/passwd")],
                shows: ["etc/", "etc/passwd=inside", "localpasswd==etc/passwd"]),
            Row(
                "HardlinkDirectAbsolute", layer: etc + [.hardLink("localpasswd", to: "/etc/passwd")],
                shows: ["etc/", "etc/passwd=inside", "localpasswd==etc/passwd"]),
            Row(
                "SymlinkParentRelative",
                layer: etc + [
                    .symlink("localetc/sub/..", to: "/etc/"),
                    .hardLink("/localetc/localpasswd", to: "/etc/passwd"),
                ],
                shows: ["etc/", "etc/localpasswd=inside", "etc/passwd==etc/localpasswd", "localetc->/etc/"]),
            Row(
                "SymlinkSlashEnded",
                layer: etc + [
                    .directory("localetc/"), .hardLink("/localetc/localpasswd", to: "/etc/passwd"),
                ], shows: ["etc/", "etc/passwd=inside", "localetc/", "localetc/localpasswd==etc/passwd"]),
            Row(
                "SymlinkOverrideDirectory", below: etc + [.directory("localetc")],
                layer: [
                    .symlink("localetc", to: "/etc"), .hardLink("/localetc/localpasswd", to: "/etc/passwd"),
                ], shows: ["etc/", "etc/localpasswd=inside", "etc/passwd==etc/localpasswd", "localetc->/etc"]),
            Row(
                "SymlinkOverrideDirectoryRelative", below: etc + [.directory("localetc")],
                layer: [
                    .symlink("localetc", to: "../../etc"),
                    .hardLink("/localetc/localpasswd", to: "/etc/passwd"),
                ],
                shows: [
                    "etc/", "etc/localpasswd=inside", "etc/passwd==etc/localpasswd", "localetc->../../etc",
                ]),
            Row(
                "DirectoryOverrideSymlink", below: withLink(to: "/etc"),
                layer: [.directory("/localetc/"), .hardLink("/localetc/localpasswd", to: "/etc/passwd")],
                shows: ["etc/", "etc/passwd=inside", "localetc/", "localetc/localpasswd==etc/passwd"]),
            Row(
                "DirectoryOverrideSymlinkAndHardlink",
                below: withLink(to: "etc") + [.hardLink("/localetc/localpasswd", to: "/etc/passwd")],
                layer: [.directory("/localetc/"), .file("/localetc/localpasswd", "different")],
                shows: [
                    "etc/", "etc/localpasswd=inside", "etc/passwd==etc/localpasswd", "localetc/",
                    "localetc/localpasswd=different",
                ]),
            Row(
                "WhiteoutSymlink", below: withLink(to: "/etc"), layer: [.file(".wh.localetc")],
                shows: ["etc/", "etc/passwd=inside"]),
            Row(
                "WhiteoutSymlinkPath",
                below: withLink(to: "/etc") + [.file("/etc/whitedout", "ahhhh whiteout")],
                layer: [.file("localetc/.wh.whitedout")],
                shows: ["etc/", "etc/passwd=inside", "localetc->/etc"]),
            Row(
                "WhiteoutDeadSymlinkParent", below: withLink(to: "/dne"), layer: [.file("localetc/.wh.etc")],
                shows: ["etc/", "etc/passwd=inside", "localetc->/dne"]),
            Row(
                "WhiteoutRelativePath", below: withLink(to: "/dne"), layer: [.file("dne/../.wh.etc")],
                shows: ["localetc->/dne"]),
            Row(
                "SymlinkOverridePath",
                layer: etc + [
                    .directory("d"), .symlink("d", to: "/"), .file("d/etc/passwd", "changed"),
                    .directory("d"),
                    .file("d/passwd", "1"),
                ], shows: ["d/", "d/passwd=1", "etc/", "etc/passwd=changed"]),
            Row(
                "HardlinkSymlinkBeforeCreateTarget",
                layer: [
                    .directory("etc"), .symlink("localpasswd", to: "/etc/passwd"),
                    .hardLink("localpasswd-dup", to: "localpasswd"), .file("/etc/passwd", "after"),
                ],
                shows: [
                    "etc/", "etc/passwd=after", "localpasswd->/etc/passwd", "localpasswd-dup==localpasswd",
                ]),
            Row(
                "HardlinkSymlinkRelative",
                layer: etc + [
                    .symlink("passwdlink", to: "../../../../../etc/passwd"),
                    .hardLink("localpasswd", to: "/passwdlink"),
                ],
                shows: [
                    "etc/", "etc/passwd=inside", "localpasswd->../../../../../etc/passwd",
                    "passwdlink==localpasswd",
                ]),
            Row(
                "HardlinkSymlinkAbsolute",
                layer: etc + [
                    .symlink("passwdlink", to: "/etc/passwd"), .hardLink("localpasswd", to: "/passwdlink"),
                ],
                shows: ["etc/", "etc/passwd=inside", "localpasswd->/etc/passwd", "passwdlink==localpasswd"]),
        ])
    func inside(row: Row) throws {
        try row.check(row.layer)
        try expectUntouched()
    }

    @Test(
        "The invalid cases of containerd's breakout suite are refused, and those that only unpack refuses",
        arguments: [
            ("SymlinkParentDirectory", etc + [.symlink("..", to: "/etc/")]),
            ("SymlinkEmptyFilename", etc + [.symlink("", to: "/etc/")]),
            ("WhiteoutRootParent", [.file(".wh...")]),
            ("WhiteoutParent", [.file("etc/.wh...")]),
            ("WhiteoutRoot", [.file(".wh..")]),
            ("WhiteoutCurrentDirectory", [.file("etc/.wh..")]),
            ("WhiteoutDirectoryName", [.file(".wh.etc/somefile", "non-empty")]),
        ] as [(String, [TarEntry])])
    func refused(name: String, layer: [TarEntry]) throws {
        #expect(throws: LayerFailure.self) { try Stack([etc, layer]) }
        try expectUntouched()
    }

    @Test("HardlinkSymlinkChmod: a hard link to a symlink that leads outside changes nothing outside")
    func hardLinkSymlinkChmod() throws {
        let link = Bytes(canary.path.string + "/also-exists-outside-root")
        let layer: [TarEntry] = [
            .symlink(link, to: Bytes(canary.path.string + "/perm400")),
            .hardLink("sketchylink", to: link).mode(0o777),
        ]
        #expect(
            try Stack([layer]).outline.last
                == "sketchylink==\(canary.path.string.dropFirst())/also-exists-outside-root")
        try expectUntouched()
    }
}
