package import Archive
package import Compression
package import Kernel
package import Layout
package import OCI
package import Streams

/// Why a layer could not be applied, and at which entry.
package struct LayerFailure: Error, Sendable {
    package enum Cause: Sendable {
        /// The blob is missing, damaged or of the wrong size.
        case blob(LayoutFailure)
        case compression(CompressionFailure)
        case archive(ArchiveFailure)
        /// The archive asks for something that no layer may.
        case refused(String)
        case wrongDiffID(expected: DiffID, found: DiffID)
        /// A tree is kept in a way that only the kernel can read.
        case unsupported(String)
        case system(SyscallFailure)
        /// The image takes more than it may.
        case excess(Budget.Excess)
        case cancelled(Cancelled)
        /// A defect of the program.
        case bug(String)
    }

    /// Escaped for a terminal; nil where it is about the layer as a whole.
    package private(set) var entry: String?
    /// Of the entry's header, in bytes of the uncompressed layer; nil where there is none.
    package private(set) var offset: Int64?
    package let cause: Cause

    init(_ cause: Cause, entry: String? = nil) {
        self.cause = cause
        self.entry = entry
    }

    init(refusing entry: EntryPath, _ reason: String) {
        self.init(.refused(reason), entry: entry.description)
    }

    /// A blob that is missing or of the wrong size, found before its layer is begun.
    package init(missing blob: LayoutFailure) { self.init(.blob(blob)) }

    /// Whether it is about what the archive says, so that a damaged blob may be behind it.
    var isAboutContent: Bool {
        switch cause {
        case .archive, .refused: true
        case .blob, .compression, .wrongDiffID, .unsupported, .system, .excess, .cancelled, .bug: false
        }
    }

    /// With the entry that was worked on, if it is not about one already.
    func placed(at other: Entry?) -> LayerFailure {
        // What is wrong with a header is not about the entry before it.
        if case .archive = cause { return self }
        guard let other, offset == nil else { return self }
        var placed = self
        placed.entry = entry ?? other.path.description
        placed.offset = other.offset
        return placed
    }

    /// Any error of the work on a layer.
    package static func wrapping(_ error: any Error) -> LayerFailure {
        switch error {
        case let failure as LayerFailure: failure
        case let failure as SyscallFailure: LayerFailure(.system(failure))
        case let failure as ArchiveFailure: LayerFailure(.archive(failure), entry: failure.entry)
        case let failure as LayoutFailure: LayerFailure(.blob(failure))
        case let failure as CompressionFailure: LayerFailure(.compression(failure))
        case let failure as Budget.Excess: LayerFailure(.excess(failure))
        case let failure as Cancelled: LayerFailure(.cancelled(failure))
        default: LayerFailure(.bug("\(error)"))
        }
    }
}

/// Something that an archive asked for and did not get, by a documented exception.
package struct LayerWarning: Sendable, Equatable {
    package enum Kind: String, Sendable, CaseIterable {
        /// `trusted.*` belongs to the host's privileged programs.
        case trustedAttribute
        /// `trusted.overlay.*`, `user.overlay.*` and character devices 0:0 would steer overlay itself.
        case overlayControl
        /// The file system has no such extended attributes.
        case unsupportedAttribute
        /// The user namespace does not have these ids, and the file can have no attribute that tells them.
        case lostOwner
        /// `user.rootlesscontainers` in a user namespace, where this program keeps owners in it.
        case ownerAttribute
        /// No device can be made in a user namespace: an empty file stands in its place.
        case lostDevice
        /// The file system keeps another modification time: a later or finer one than it has.
        case alteredTime
    }

    package let kind: Kind
    /// The first entry concerned, escaped.
    package let entry: String
    package let detail: String
    /// How many entries or attributes were concerned.
    package var count: Int

    package var description: String {
        let more = count > 1 ? " (and \(count - 1) more)" : ""
        let what =
            switch kind {
            case .trustedAttribute:
                "extended attribute \(detail) is not applied: trusted.* belongs to the host"
            case .overlayControl: "\(detail) is not applied: it would steer the overlay file system"
            case .unsupportedAttribute:
                "extended attribute \(detail) is not supported by the store's file system"
            case .lostOwner:
                "its owner \(detail) is no id of this user namespace, and is lost on what is no file or directory"
            case .ownerAttribute: "extended attribute \(detail) is not applied: it would forge owners here"
            case .lostDevice: "\(detail) cannot be made in a user namespace: an empty file is in its place"
            case .alteredTime: "the file system does not keep its modification time \(detail)"
            }
        return "entry '\(entry)': \(what)\(more)"
    }
}
