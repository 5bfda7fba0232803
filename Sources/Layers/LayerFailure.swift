package import Archive
package import Compression
internal import Erofs
package import Kernel
package import Layout
package import OCI

/// Why a layer could not be applied, and at which entry.
package struct LayerFailure: Error, Sendable {
    package enum Cause: Sendable {
        /// The blob is missing, damaged or of the wrong size.
        case blob(LayoutFailure)
        case compression(CompressionFailure)
        case archive(ArchiveFailure)
        /// The archive violates a rule of `docs/spec-notes.md`, or a tree cannot be written as a layer.
        case refused(String)
        case wrongDiffID(expected: DiffID, found: DiffID)
        /// The media type is unknown, or only the kernel can read the tree.
        case unsupported(String)
        case system(SyscallFailure)
        case mismatch(FileMismatch)
        /// The EROFS image of a layer below cannot be read.
        case damagedImage(String)
        /// The image exceeds a limit of its `Budget`.
        case excess(Budget.Excess)
        case cancelled(Cancelled)
        /// A defect of the program.
        case bug(String)
    }

    /// Path of the entry, escaped for a terminal; nil if the failure is about the layer as a whole.
    package private(set) var entry: String?
    /// Offset of the entry's header in the uncompressed layer; nil if no entry of the archive is concerned.
    package private(set) var offset: Int64?
    package let cause: Cause

    init(_ cause: Cause, entry: String? = nil) {
        self.cause = cause
        self.entry = entry
    }

    init(refusing entry: EntryPath, _ reason: String) {
        self.init(.refused(reason), entry: entry.description)
    }

    /// Failure of a blob that is missing or of the wrong size, detected before its layer is read.
    package init(missing blob: LayoutFailure) { self.init(.blob(blob)) }

    /// Whether the content of the archive is the cause, so that a damaged blob may explain the failure.
    var isAboutContent: Bool {
        switch cause {
        case .archive, .refused: true
        case .blob, .compression, .wrongDiffID, .unsupported, .system, .mismatch, .damagedImage, .excess,
            .cancelled, .bug:
            false
        }
    }

    /// Adds the path and the offset of the entry that was being applied, unless the failure has them already.
    func located(at other: Entry?) -> LayerFailure {
        // A malformed header is not the fault of the entry before it.
        if case .archive = cause { return self }
        guard let other, offset == nil else { return self }
        var located = self
        located.entry = entry ?? other.path.description
        located.offset = other.offset
        return located
    }

    /// Converts any error of the work on a layer.
    package static func wrapping(_ error: any Error) -> LayerFailure {
        switch error {
        case let failure as LayerFailure: failure
        case let failure as SyscallFailure: LayerFailure(.system(failure))
        case let mismatch as FileMismatch: LayerFailure(.mismatch(mismatch))
        case let failure as ArchiveFailure: LayerFailure(.archive(failure), entry: failure.entry)
        case let failure as LayoutFailure: LayerFailure(.blob(failure))
        case let failure as CompressionFailure: LayerFailure(.compression(failure))
        case let failure as Budget.Excess: LayerFailure(.excess(failure))
        case let failure as Cancelled: LayerFailure(.cancelled(failure))
        case let failure as ErofsError: LayerFailure(failure)
        default: LayerFailure(.bug("\(error)"))
        }
    }
}

extension LayerFailure {
    fileprivate init(_ failure: ErofsError) {
        switch failure {
        // An image cannot hold what the layer has.
        case .invalidName, .invalidTime, .invalidTarget, .invalidDevice, .unsupportedAttribute,
            .duplicateAttribute, .attributesTooLarge, .fileTooLarge, .imageTooLarge, .tooManyLinks:
            self.init(.refused("\(failure)"))
        case .notErofs, .unsupported, .corrupt: self.init(.damagedImage("\(failure)"))
        case .nameIsDirectory, .missing, .invalidContent, .undescribedDirectory:
            self.init(.bug("\(failure)"))
        }
    }
}

/// Something in an archive that was not applied, by a documented exception.
package struct LayerWarning: Sendable, Equatable {
    package enum Kind: String, Sendable, CaseIterable {
        /// `trusted.*` belongs to the host's privileged programs.
        case trustedAttribute
        /// `trusted.overlay.*`, `user.overlay.*` and character devices 0:0 would control overlayfs.
        case overlayControl
        /// The file system does not support the extended attribute.
        case unsupportedAttribute
        /// The user namespace does not have these IDs, and the file cannot have the attribute that records them.
        case lostOwner
        /// `user.rootlesscontainers` in a user namespace, where this program records owners in it.
        case ownerAttribute
        /// A device cannot be made in a user namespace: an empty file replaces it.
        case lostDevice
        /// The file system stores another modification time, because the time is out of its range or too precise.
        case alteredTime
    }

    package let kind: Kind
    /// The first entry concerned, escaped.
    package let entry: String
    package let detail: String
    /// Number of entries or attributes concerned.
    package var count: Int

    package var description: String {
        let more = count > 1 ? " (and \(count - 1) more)" : ""
        let message =
            switch kind {
            case .trustedAttribute:
                "extended attribute \(detail) is not applied: trusted.* belongs to the host"
            case .overlayControl: "\(detail) is not applied: it would control the overlay file system"
            case .unsupportedAttribute:
                "extended attribute \(detail) is not supported by the store's file system"
            case .lostOwner:
                "the owner \(detail) has no ID in this user namespace, and cannot be recorded on this file"
            case .ownerAttribute: "extended attribute \(detail) is not applied: it would forge owners here"
            case .lostDevice: "\(detail) cannot be made in a user namespace: an empty file is in its place"
            case .alteredTime: "the file system does not keep its modification time \(detail)"
            }
        return "entry '\(entry)': \(message)\(more)"
    }
}
