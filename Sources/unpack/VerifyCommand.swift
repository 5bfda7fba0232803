internal import ArgumentParser
internal import Kernel
internal import OCI
internal import Programs
internal import Snapshots
internal import Unpacking

/// Compares committed snapshots with their records, and repairs damaged ones from an image.
struct VerifyCommand: NamespacedCommand {
    static let configuration = CommandConfiguration(
        commandName: "verify",
        abstract: "Compare snapshots with their records, and repair them.",
        discussion: """
            The exit status is that of fsck(8), or a sum of these: 0 no damage, 1 damage was repaired, 4 damage remains, \
            8 operational error, 16 usage error, 32 interrupted.

            A layer is recorded when it is unpacked with --sync fs, else by its first verification. Records have the SHA-256 \
            of each file's content. Records of earlier versions have a CRC-32, which detects damage on a disk but not forged \
            content.
            """)

    @Argument(
        help: "Images (references or manifest digests) or snapshots; by default all are verified.")
    var names: [String] = []

    @Option(
        help: ArgumentHelp(
            "Unpack damaged layers again, from this image.", valueName: "image"),
        completion: .file())
    var repair: String?

    @OptionGroup(title: "Which image") var selection: SelectionOptions
    @OptionGroup(title: "Store") var store: StoreOptions
    @OptionGroup(title: "Messages") var verbosity: LogOptions

    @OptionGroup var output: JSONOptions

    /// The bits of the exit status (fsck(8)).
    private enum Bits {
        static let repaired: Int32 = 1
        static let damaged: Int32 = 4
        static let failed: Int32 = 8
        static let usage: Int32 = 16
        static let interrupted: Int32 = 32
    }

    func run() throws {
        var report = VerificationReport(isQuiet: verbosity.quiet, asJSON: output.isJSON)
        var status: Int32 = 0
        do {
            try verify(&report)
            try report.end()
        } catch let error as UnpackError {
            ErrorReport(error).print()
            status =
                switch error.code {
                case .usage: Bits.usage
                case .interrupted: Bits.interrupted
                default: Bits.failed
                }
        }
        if report.repaired > 0 { status |= Bits.repaired }
        if report.damaged > 0 { status |= Bits.damaged }
        if status != 0 { throw ExitCode(status) }
    }

    private func verify(_ report: inout VerificationReport) throws {
        let source = try repair.map { image in
            let choice = try selection.choice(image)
            return Verifier.Repair(image: choice.source, selector: choice.selector)
        }
        if source == nil, selection.ref != nil || selection.digest != nil || selection.platform != nil {
            throw UnpackError(.usage, "--ref, --digest and --platform go with --repair IMAGE")
        }
        guard try store.openIfExisting() != nil else {
            if names.isEmpty { return }
            _ = try store.openExisting()
            return
        }
        let cancellation = Cancellation()
        try Program.onTermination { cancellation.cancel(signal: $0) }
        let verifier = Verifier(
            root: try store.rootPath(), snapshotter: try store.snapshotterName, repair: source,
            cancellation: cancellation)
        try verifier.run(names) { report.take($0) }
    }
}

/// Prints the result of a verification: differences on stdout, progress and hints on stderr.
private struct VerificationReport {
    let isQuiet: Bool
    let asJSON: Bool
    private(set) var repaired = 0
    private(set) var damaged = 0
    /// Damaged snapshots for which no repair was tried.
    private var unrepaired = 0
    /// Intact snapshots whose record has CRC-32 checksums, of an earlier version.
    private var weak = 0
    private var document = Document(snapshots: [])
    private var differences = [String]()

    init(isQuiet: Bool, asJSON: Bool) {
        self.isQuiet = isQuiet
        self.asJSON = asJSON
    }

    private struct Document: Encodable {
        var snapshots: [Snapshot]
    }

    private struct Snapshot: Encodable {
        let key: String
        /// `intact`, `recorded`, `repaired` or `damaged`.
        let state: String
        /// How the contents of an intact snapshot were compared: `sha256` or `crc32`.
        let strength: String?
        let differences: [String]
        /// Why the snapshot was not repaired.
        let reason: String?
    }

    mutating func take(_ event: Verifier.Event) {
        switch event {
        case .started(let info, let number, let count):
            differences = []
            log("\(number) of \(count): \(escaped(info.name.utf8))")
        case .found(let info, let finding):
            if asJSON {
                differences.append(finding.description)
            } else {
                try? printResult(printable("\(escaped(info.name.utf8)): \(finding)"))
            }
        case .repairing(let step): log("unpacking \(step.name) again")
        case .ended(let info, let outcome): end(info, outcome)
        }
    }

    private mutating func end(_ info: SnapshotInfo, _ outcome: Verifier.Outcome) {
        var reason: UnpackError?
        var strength: String?
        let state: String
        switch outcome {
        case .intact(let paths, detectsForgery: true):
            state = "intact"
            strength = "sha256"
            log("  \(paths) paths, as recorded")
        case .intact(let paths, detectsForgery: false):
            state = "intact"
            strength = "crc32"
            weak += 1
            log(
                "  \(paths) paths, as recorded; contents compared by CRC-32, which does not detect forged content"
            )
        case .recorded:
            state = "recorded"
            log("  no record to compare with: recorded now")
        case .repaired:
            state = "repaired"
            repaired += 1
            log("  repaired")
        case .damaged(let why):
            state = "damaged"
            damaged += 1
            reason = why
            if let why {
                ErrorReport(why.prefixed(with: "\(escaped(info.name.utf8)) was not repaired: ")).print()
            } else {
                unrepaired += 1
            }
        }
        document.snapshots.append(
            Snapshot(
                key: info.name, state: state, strength: strength, differences: differences,
                reason: reason?.message))
    }

    func end() throws {
        if asJSON { return try printResult(try attempt { try encoded(document) }) }
        if weak > 0, !isQuiet {
            log(hint: "remove images with 'unpack rm' and unpack them again to record SHA-256")
        }
        if unrepaired > 0 {
            log(
                hint:
                    "'unpack verify --repair IMAGE' unpacks damaged layers again; or remove the image and unpack it again"
            )
        }
    }

    private func log(hint: String) {
        Log.print(LogLine(level: .info, hint: hint), lines: ["hint: \(hint)"])
    }

    private func log(_ text: String) { if !isQuiet { Log.print(LogLine(level: .info, message: text)) } }
}
