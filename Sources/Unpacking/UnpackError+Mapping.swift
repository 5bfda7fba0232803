internal import Compression
package import Kernel
package import Layers
package import Layout
package import Mounts
package import OCI
package import Snapshots
internal import SystemPackage

/// Runs a function and converts the errors of the lower modules to `UnpackError`.
///
/// - Parameter step: the layer that messages name, if the function works on one.
package func attempt<Value: ~Copyable>(
    in step: LayerStep? = nil, _ body: () throws -> Value
) throws(UnpackError) -> Value {
    try attempt(in: step, writingTo: .store, body)
}

/// As `attempt(in:_:)`, for work that writes to another destination than the store.
func attempt<Value: ~Copyable>(
    in step: LayerStep? = nil, writingTo destination: UnpackError.Destination, _ body: () throws -> Value
) throws(UnpackError) -> Value {
    do {
        return try body()
    } catch {
        switch (error, step) {
        case (let error as UnpackError, _): throw error
        case (let error as LayerFailure, let step?):
            throw UnpackError(error, in: step.name, writingTo: destination)
        case (let error as LayoutFailure, let step?):
            throw UnpackError(LayerFailure(missing: error), in: step)
        case (let error as LayoutFailure, nil): throw UnpackError(error)
        case (let error as StoreFailure, _): throw UnpackError(error)
        case (let error as MountLine.Failure, _): throw UnpackError(error)
        case (let error as MountPerformer.Failure, _): throw UnpackError(error)
        case (let error as SyscallFailure, _): throw UnpackError(error, to: destination)
        case (let error as FileMismatch, _): throw UnpackError(error, to: destination)
        case (let error as OwnershipFailure, _): throw UnpackError(error)
        case (let error as Cancelled, _): throw UnpackError(error)
        default: throw UnpackError(.internal, "\(error)", hint: UnpackError.bug)
        }
    }
}

extension UnpackError {
    // MARK: Layout

    package init(_ failure: LayoutFailure) {
        switch failure {
        case .notFound(let path):
            self.init(
                .notFound, "no image at '\(escaped(path))'",
                hint:
                    "IMAGE is the directory of an OCI image layout, an archive of one or of `docker save`, or - for stdin"
            )
        case .notADirectory(let path):
            self.init(
                .notFound, "'\(escaped(path))' is not a directory",
                hint: "an archive is named without oci:, or with oci-archive: or docker-archive:")
        case .isADirectory(let path):
            self.init(
                .notFound, "'\(escaped(path))' is a directory, not an archive",
                hint: "name it without the transport, or with oci:")
        case .windowTooLarge(let path, let limit):
            let name =
                path == ImageSource.standardInput.path
                ? "FILE" : ShellWord(quoting: path.string, orElse: "FILE").text
            self.init(
                .data,
                "\(Self.shown(path)) cannot be read as an archive of an image: \(CompressionFailure.windowTooLarge(limit: limit))",
                hint: "decompress it with more memory: zstd -dc --long=31 \(name) | unpack -")
        case .unreadable(let path, let reason):
            self.init(
                .data, "\(Self.shown(path)) cannot be read as an archive of an image: \(reason)",
                hint: "it is damaged, or was cut off: fetch or save it again")
        case .noSpace(let folder, let reason):
            self.init(
                .io,
                "no space in '\(escaped(folder))' for a temporary copy of the archive: \(reason)",
                hint:
                    "set TMPDIR to a directory with more space, or save the archive, uncompressed, and name the file"
            )
        case .silent(let path, let nanoseconds):
            self.init(
                .io, "\(Self.shown(path)) has sent nothing for \(nanoseconds / 1_000_000_000) s",
                hint: "look at the program that writes it, or raise --timeout")
        case .inputIsTerminal:
            self.init(
                .usage, "standard input is a terminal, not an archive",
                hint: "pipe one into it: docker save NAME | unpack -")
        case .notALayout(let path, let reason):
            self.init(
                .data, "\(Self.shown(path)) is not an OCI image layout: \(reason)",
                hint: "`skopeo copy docker://NAME oci:DIR:TAG` makes one")
        case .document(let name, let reason):
            // A document that is named by its digest was verified before it was parsed.
            let isVerified = name.contains("sha256:") || name.contains("sha512:")
            self.init(
                .data, "\(name): \(reason)",
                hint: isVerified
                    ? "it matches its digest, so the image was built this way: report it to its publisher"
                    : "fetch or save the image again, or report it to its publisher")
        case .notAnImage(let digest, let reason):
            self.init(
                .data, "manifest \(digest): \(reason)",
                hint: "choose an image instead: `unpack inspect` lists those of the layout")
        case .documentTooLarge(let name, let size, let limit):
            self.init(.data, "\(name): \(size) bytes, and at most \(limit) are read")
        case .blobMissing(let digest):
            self.init(
                .notFound, "the blob \(digest) is missing from the layout",
                hint: "the copy of the image is incomplete: fetch it again")
        case .blobNotAFile(let digest, let what):
            self.init(
                .data, "the blob \(digest) is \(what), not a file",
                hint: "the copy of the image is damaged: fetch it again")
        case .blobUnreadable(let digest, let reason):
            self.init(.io, "the blob \(digest) cannot be read: \(escaped(reason.utf8))")
        case .wrongSize(let digest, let expected, let found):
            self.init(
                .data, "the blob \(digest) has \(found) bytes, its descriptor says \(expected)",
                hint: Self.damaged)
        case .wrongDigest(let expected, let found):
            self.init(
                .data, "the blob's digest is \(found), its descriptor says \(expected)", hint: Self.damaged)
        case .noImage(let path):
            self.init(
                .notFound, "\(Self.shown(path)) holds no image",
                hint: "`unpack inspect` lists what it holds instead")
        case .noReference(let name, let candidates):
            self.init(
                .notFound,
                "no image has the reference '\(escaped(name.utf8))'; there are:", list: Self.list(candidates),
                hint: "choose with --ref NAME or DIR:NAME")
        case .noDigest(let digest, let candidates):
            self.init(
                .notFound, "no image has the digest \(digest); there are:", list: Self.list(candidates))
        case .noPosition(let position, let count):
            self.init(
                .notFound, "there is no image @\(position): the index has \(count)",
                hint: "they are counted from 0; `unpack inspect IMAGE` shows them")
        case .noPlatform(let platform, let candidates):
            self.init(
                .unavailable, "no image is for the platform \(platform); there are:",
                list: Self.list(candidates),
                hint: "choose one of these with --platform OS/ARCH[/VARIANT]")
        case .ambiguous(let candidates):
            self.init(
                .usage, "\(candidates.count) images match:", list: Self.list(candidates),
                hint: "choose with --ref NAME (or DIR:NAME), --digest DIGEST or --platform OS/ARCH[/VARIANT]")
        case .cancelled(let cause): self.init(cause)
        case .system(let failure): self.init(failure)
        }
    }

    private static func shown(_ path: FilePath) -> String {
        path == ImageSource.standardInput.path ? "standard input" : "'\(escaped(path))'"
    }

    private static let damaged = "the image is damaged: fetch it again"

    private static func list(_ candidates: [Candidate]) -> [String] {
        candidates.map { candidate in
            let name = candidate.name.map { escaped($0.utf8) } ?? "(no name)"
            let what =
                candidate.failure.map { "cannot be read (\(UnpackError($0).message))" }
                ?? "\(candidate.platform)"
            return "\(name)  \(what)  \(candidate.descriptor.digest)"
        }
    }

    // MARK: Layers

    package init(_ failure: LayerFailure, in step: LayerStep) { self.init(failure, in: step.name) }

    /// - Parameter layer: name of the layer in the message.
    package init(_ failure: LayerFailure, in layer: String) {
        self.init(failure, in: layer, writingTo: .store)
    }

    fileprivate init(_ failure: LayerFailure, in layer: String, writingTo destination: Destination) {
        let offset = failure.offset.map { ", byte \($0) of the tar" } ?? ""
        let entry = failure.entry.map { "entry '\($0)'\(offset): " } ?? ""
        let place = "\(layer): "
        switch failure.cause {
        case .blob(let cause):
            self = UnpackError(cause).prefixed(with: place)
        case .compression(.outOfMemory):
            self.init(.io, "\(place)\(CompressionFailure.outOfMemory)", hint: Self.memory)
        case .compression(.windowTooLarge(let limit)):
            self.init(
                .data, "\(place)\(CompressionFailure.windowTooLarge(limit: limit))",
                hint: "ask the image's publisher to compress it with --long=27 or less")
        case .compression(let cause):
            self.init(.data, "\(place)\(cause)", hint: Self.builtWrong)
        case .archive(let cause):
            self.init(.data, "\(place)\(cause)", hint: Self.builtWrong)
        case .refused(let reason):
            self.init(.data, "\(place)\(entry)\(reason)", hint: Self.builtWrong)
        case .wrongDiffID(let expected, let found):
            self.init(
                .data, "\(place)the uncompressed layer's digest is \(found), the config says \(expected)",
                hint: "layer and config do not belong together: report it to the publisher of the image")
        case .unsupported(let reason): self.init(.unavailable, "\(place)\(entry)\(reason)")
        case .system(let cause):
            let inner = UnpackError(cause, to: destination)
            // These errors mean that the image is invalid: no file system would accept the entry.
            let isRefused = failure.entry != nil && cause.cause == nil && Self.refusals.contains(cause.errno)
            self.init(
                isRefused ? .data : inner.code, "\(place)\(entry)\(inner.message)",
                hint: isRefused ? Self.builtWrong : inner.hint)
        case .mismatch(let cause):
            let inner = UnpackError(cause, to: destination)
            self.init(inner.code, "\(place)\(entry)\(inner.message)", hint: inner.hint)
        case .damagedImage(let reason):
            self.init(
                .io, "\(place)a layer below it is damaged in the store: \(reason)",
                hint: "'unpack verify --repair IMAGE' unpacks it again")
        case .excess(let excess): self.init(excess, place + entry, destination)
        case .cancelled(let cause): self.init(cause)
        case .bug(let reason): self.init(.internal, "\(place)\(entry)\(reason)", hint: Self.bug)
        }
    }

    private init(_ excess: Budget.Excess, _ place: String, _ destination: Destination) {
        switch excess {
        case .bytes(let limit):
            self.init(
                .data, "\(place)the image has more than \(limit) bytes of files",
                hint: "if you trust it, raise --max-bytes")
        case .freeSpace(let limit):
            self.init(
                .io, "\(place)the image has more than the \(limit) bytes that were free on the file system",
                hint: destination.spaceOrLimit)
        case .entries(let limit):
            self.init(
                .data, "\(place)the image has more than \(limit) entries",
                hint: "if you trust it, raise --max-entries")
        case .uncompressed(let limit):
            self.init(
                .data, "\(place)the image unpacks to more than \(limit) bytes, which --max-ratio allows",
                hint: "if you trust it, raise --max-ratio")
        case .steps(let limit):
            self.init(
                .data, "\(place)the paths of the image's entries take more than \(limit) steps",
                hint: "if you trust it, raise --max-entries: there are 16 steps for each")
        case .names(let limit):
            self.init(
                .data,
                "\(place)its names take more than \(limit) bytes of memory, as those of one EROFS image",
                hint: "use --snapshotter overlayfs, which has no such limit")
        case .memory(let limit):
            self.init(
                .data, "\(place)its directories and whiteouts take more than \(limit) bytes of memory",
                hint: "it is far larger than any image should be: report it to its publisher")
        }
    }

    private static let refusals: Set<Errno> = [
        .fileNameTooLong, .invalidArgument, .outOfRange, .argListTooLong, .tooManySymbolicLinkLevels,
    ]

    fileprivate static let bug = "this is a bug in unpack: report it with this message"

    /// A hint for errors that are reported only after the blob's digest was verified.
    private static let builtWrong =
        "the blob matches its digest, so the image was built this way: report it to its publisher"

    // MARK: Store and mounts

    package init(_ failure: StoreFailure) {
        switch failure.kind {
        case .notFound: self.init(.notFound, failure.description, hint: failure.hint)
        case .alreadyExists, .invalidArgument:
            self.init(.usage, failure.description, hint: failure.hint)
        case .failedPrecondition, .resourceExhausted, .unavailable:
            self.init(.unavailable, failure.description, hint: failure.hint)
        case .busy: self.init(.busy, failure.description, hint: failure.hint)
        case .notPermitted: self.init(.permission, failure.description, hint: failure.hint)
        case .database, .outOfSpace, .unusableFile: self.init(.io, failure.description, hint: failure.hint)
        case .cancelled: self.init(.internal, failure.description, hint: failure.hint)
        case .internalError:
            self.init(.internal, failure.description, hint: failure.hint ?? "this is a bug: please report it")
        case .system(let cause):
            let inner = UnpackError(cause)
            self.init(inner.code, failure.description, hint: failure.hint ?? inner.hint)
        }
    }

    package init(_ failure: MountLine.Failure) {
        switch failure {
        case .notPlain(let text):
            self.init(
                .usage,
                "'\(escaped(text.utf8))' cannot be part of a mount line: a shell or mount(8) would not take it literally",
                hint:
                    "use a key, a --root and a --target of letters, digits and / . _ - + @, or --format json (unpack snapshot: --json)"
            )
        case .tooLong(let bytes):
            self.init(
                .unavailable,
                "the mount has \(bytes) bytes of options, and mount(8) passes at most \(MountLine.longestOptions)",
                hint: "use the line that --format mount prints: unpack performs it")
        case .unsupported(let reason): self.init(.usage, reason, hint: "choose another --format")
        }
    }

    package init(_ failure: MountPerformer.Failure) {
        switch failure {
        case .system(let cause): self.init(cause)
        case .tooManyLayers(let count):
            self.init(
                .unavailable, "this kernel cannot mount \(count) layers",
                hint: "kernel 6.7 and later mount up to 500")
        case .inUse(let target):
            let place = target.map { "on '\(escaped($0))'" } ?? "where this process cannot see it"
            self.init(
                .unavailable, "this writable snapshot is mounted already, \(place)",
                hint: "unmount it there, or use another key")
        case .layerCountMismatch(let expected, let found):
            self.init(.internal, "the kernel mounted \(found) of \(expected) layers; the mount was removed")
        case .bug(let reason): self.init(.internal, reason, hint: Self.bug)
        }
    }

    /// - Parameter doing: beginning of the message, what failed; nil if the failure describes it.
    package init(_ failure: OwnershipFailure, _ doing: String? = nil) {
        let message = (doing.map { "\($0): " } ?? "") + failure.description
        switch failure {
        case .system(let cause): self.init(cause)
        case .mismatch(let mismatch):
            let inner = UnpackError(mismatch, to: .output)
            self.init(inner.code, message, hint: inner.hint)
        case .wrongType, .tooManyLinks: self.init(.io, message, hint: failure.hint)
        case .bug: self.init(.internal, message, hint: Self.bug)
        case .otherOwner, .writableByOthers, .symlink, .hardLink:
            self.init(.permission, message, hint: failure.hint)
        }
    }

    package init(_ cancelled: Cancelled) {
        switch cancelled.reason {
        case .signal(let signal): self.init(.interrupted(signal), "interrupted")
        case .failure: self.init(.internal, "cancelled because a layer below failed")
        }
    }
}
