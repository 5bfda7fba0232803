internal import ArgumentParser
internal import Kernel
internal import OCI
internal import Programs
internal import Snapshots
internal import Streams
internal import Unpacking

struct VerifyCommand: NamespacedCommand {
    static let configuration = CommandConfiguration(
        commandName: "verify",
        abstract: "Read committed snapshots, and name everything that is not as it was recorded.",
        discussion: """
            The exit status is fsck's: 0 nothing is wrong, 1 damage was repaired, 4 damage is left, 8 the work could not \
            be done, 16 the command line is wrong, 32 it was interrupted; sums of them are possible.

            A layer is recorded when it is unpacked with --sync fs; one that was not is recorded by its first verification. \
            Contents are recorded by SHA-256; records of earlier versions have a CRC-32, which finds what a disk does to bytes \
            and not forged content.
            """)

    @Argument(
        help: "Images (references or manifest digests) or snapshots. Without one everything is verified.")
    var names: [String] = []

    @Option(
        help: ArgumentHelp(
            "Unpack damaged layers again from this image.", valueName: "image"),
        completion: .file())
    var repair: String?

    @OptionGroup var selection: SelectionOptions
    @OptionGroup var store: StoreOptions
    @OptionGroup var talk: TalkOptions

    @Flag(help: "Print one JSON document.")
    var json = false

    /// fsck(8).
    private enum Bits {
        static let repaired: Int32 = 1
        static let damaged: Int32 = 4
        static let failed: Int32 = 8
        static let usage: Int32 = 16
        static let interrupted: Int32 = 32
    }

    func run() throws {
        var report = VerificationReport(isQuiet: talk.quiet, asJSON: json)
        var status: Int32 = 0
        do {
            try verify(&report)
            try report.end()
        } catch let error as UnpackError {
            ErrorReport(error).say()
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
            let (source, selector) = try selection.resolve(image)
            return Verifier.Repair(image: source, selector: selector)
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
        try attempt { try Process.onTermination { cancellation.cancel(signal: $0) } }
        let verifier = Verifier(
            root: try store.rootPath(), snapshotter: try store.snapshotterName, repair: source,
            cancellation: cancellation)
        try verifier.run(names) { report.take($0) }
    }
}

/// What a verification has found: each difference on stdout, what is going on on stderr.
private struct VerificationReport {
    let isQuiet: Bool
    let asJSON: Bool
    private(set) var repaired = 0
    private(set) var damaged = 0
    /// Damaged ones that nobody has tried to repair.
    private var unattended = 0
    /// Those whose record is of an earlier version.
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
        let name: String
        /// `intact`, `recorded`, `repaired` or `damaged`.
        let state: String
        /// Of an intact one, how the content of files was compared: `sha256` or `crc32`.
        let strength: String?
        let differences: [String]
        /// Why it was not repaired.
        let reason: String?
    }

    mutating func take(_ event: Verifier.Event) {
        switch event {
        case .started(let info, let number, let count):
            differences = []
            tell("\(number) of \(count): \(escaped(info.name.utf8))")
        case .found(let info, let finding):
            if asJSON {
                differences.append(finding.description)
            } else {
                try? say(printable("\(escaped(info.name.utf8)): \(finding)"))
            }
        case .repairing(let step): tell("unpacking \(step.name) again")
        case .ended(let info, let outcome): end(info, outcome)
        }
    }

    private mutating func end(_ info: SnapshotInfo, _ outcome: Verifier.Outcome) {
        var reason: UnpackError?
        var strength: String?
        let state: String
        switch outcome {
        case .intact(let paths, .digest):
            state = "intact"
            strength = "sha256"
            tell("  \(paths) paths, as recorded")
        case .intact(let paths, .checksum):
            state = "intact"
            strength = "crc32"
            weak += 1
            tell("  \(paths) paths, as recorded; contents by CRC-32 alone, to which they can be forged")
        case .recorded:
            state = "recorded"
            tell("  there was no record to compare it with: recorded now")
        case .repaired:
            state = "repaired"
            repaired += 1
            tell("  repaired")
        case .damaged(let why):
            state = "damaged"
            damaged += 1
            reason = why
            if let why {
                ErrorReport(why.prefixed(with: "\(escaped(info.name.utf8)) was not repaired: ")).say()
            } else {
                unattended += 1
            }
        }
        document.snapshots.append(
            Snapshot(
                name: info.name, state: state, strength: strength, differences: differences,
                reason: reason?.message))
    }

    func end() throws {
        if asJSON { return try say(try attempt { try encoded(document) }) }
        if weak > 0, !isQuiet {
            give(hint: "remove images with 'unpack rm' and unpack them again: then SHA-256 is recorded")
        }
        if unattended > 0 {
            give(
                hint:
                    "'unpack verify --repair IMAGE' unpacks damaged layers again; or remove the image and unpack it anew"
            )
        }
    }

    private func give(hint: String) {
        Talk.say(Remark(level: .info, hint: hint), lines: ["hint: \(hint)"])
    }

    private func tell(_ text: String) { if !isQuiet { Talk.say(Remark(level: .info, message: text)) } }
}
