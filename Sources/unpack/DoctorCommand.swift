internal import ArgumentParser
internal import Kernel
internal import Programs
internal import Snapshots
internal import Unpacking

/// Checks what this machine provides for unpacking (`Doctor`).
struct DoctorCommand: NamespacedCommand {
    static let configuration = CommandConfiguration(
        commandName: "doctor", abstract: "Check what this machine allows, and what would help.",
        discussion: """
            Tries what the kernel, the privileges, the store's file system and other programs offer, and leaves nothing \
            behind. For an ordinary user the checks run in the user namespace that unpack would use, if one can be created.

            Exit status: 0 if images can be unpacked here, 69 if something is missing.
            """)

    @OptionGroup(title: "Store") var store: StoreOptions

    @OptionGroup var output: JSONOptions

    /// Runs in a user namespace if one can be created; without one the checks run here and report that.
    func runElsewhere(_ arguments: [String]) throws -> Int32? {
        guard Process.effectiveUserID != 0, Process.hasProc else { return nil }
        return try? UserNamespace.run(nil, arguments)
    }

    func run() throws {
        let root = try store.rootPath()
        let findings = Doctor(
            root: root, libraries: Version.libraries, snapshotter: try store.snapshotterName,
            pool: try store.backendSettings().pool ?? SnapshotStore.thinPool(ofStore: root)
        ).run()
        let works = !findings.contains { $0.state == .missing }
        if output.isJSON {
            try printResult(
                try attempt { try encoded(Document(works: works, checks: findings.map(Check.init))) })
        } else {
            let width = findings.map(\.name.count).max() ?? 0
            for finding in findings {
                let mark =
                    switch finding.state {
                    case .ok: "ok  "
                    case .limited: "less"
                    case .missing: "NO  "
                    }
                let name = finding.name + String(repeating: " ", count: width - finding.name.count)
                try printResult(printable("\(mark)  \(name)  \(finding.detail)"))
                if let remedy = finding.remedy {
                    try printResult(printable(String(repeating: " ", count: width + 8) + "-> \(remedy)"))
                }
            }
        }
        if !works { throw ExitCode(UnpackError.Code.unavailable.exitStatus) }
    }

    private struct Document: Encodable {
        let works: Bool
        let checks: [Check]
    }

    private struct Check: Encodable {
        let name: String
        /// `ok`, `limited` or `missing`.
        let state: String
        let detail: String
        let remedy: String?

        init(_ finding: Doctor.Finding) {
            name = finding.name
            state = finding.state.rawValue
            detail = finding.detail
            remedy = finding.remedy
        }
    }
}
