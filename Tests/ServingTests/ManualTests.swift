import Foundation
import SystemPackage
import TestSupport
import Testing

@Test(
    "unpack-snapshotter(8) contains every flag of --help, its variables, and containerd's configuration",
    .enabled(if: TestEnvironment.has("man") && TestEnvironment.has("groff"), "needs man-db and groff"))
private func manual() throws {
    let scratch = try TemporaryDirectory()
    try Command.run(RunningServer.program.string, "generate-manual", scratch.path.string).succeed()
    #expect(
        try FileManager.default.contentsOfDirectory(atPath: scratch.path.string) == ["unpack-snapshotter.8"])
    let path = scratch.path.appending("unpack-snapshotter.8")
    #expect(try RenderedManual.complaints(of: path) == "")

    let page = try RenderedManual(path)
    let help = try Command.run(RunningServer.program.string, "--help").succeed().text
    let flags = RenderedManual.words(help).filter { $0.hasPrefix("--") }
    #expect(Set(flags).isSuperset(of: ["--address", "--root", "--snapshotter", "--help"]))
    #expect(page.words.isSuperset(of: flags))
    for title in [
        "DESCRIPTION", "CONTAINERD", "SYSTEMD", "SIGNALS", "EXIT STATUS", "FILES", "EXAMPLES", "SEE ALSO",
    ] {
        #expect(page.section(title) != nil, "\(title)")
    }
    let variables = RenderedManual.words(help).filter { $0.hasPrefix("$UNPACK_") }.map { $0.dropFirst() }
    #expect(!variables.isEmpty)
    let environment = try #require(page.section("ENVIRONMENT"))
    for variable in variables { #expect(environment.contains(variable), "\(variable)") }
}
