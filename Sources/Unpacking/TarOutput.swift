package import Kernel
internal import Layout
package import SystemPackage

/// Writes the merged tree of an image as one tar, to a file or to standard output, without a store or snapshots.
package struct TarOutput: Sendable {
    package enum Destination: Sendable {
        /// Replaces an existing file atomically, after the whole tar has been written.
        case file(FilePath)
        case standardOutput
    }

    private let request: UnpackRequest
    private let destination: Destination
    private let latest: Int64?
    private let cancellation: Cancellation
    private let onEvent: @Sendable (UnpackEvent) -> Void

    /// - Parameters:
    ///   - request: only image, selector, durability and limits are used.
    ///   - latest: seconds since 1970; later times of files are lowered to it. Nil keeps all times.
    package init(
        _ request: UnpackRequest, to destination: Destination, latest: Int64?, cancellation: Cancellation,
        onEvent: @escaping @Sendable (UnpackEvent) -> Void
    ) {
        self.request = request
        self.destination = destination
        self.latest = latest
        self.cancellation = cancellation
        self.onEvent = onEvent
    }

    /// Writes the tar.
    package func run() throws(UnpackError) -> OutputResult {
        let (layout, _, image) = try request.open(cancellation, onEvent)
        let opened = OpenedImage(layout: layout, image: image)
        let job = ImageTarJob(
            opened, limits: request.limits, latest: latest.map { Timestamp(seconds: $0, nanoseconds: 0) },
            cancellation: cancellation, onEvent: onEvent)
        let warnings = try write(job)
        try attempt { try layout.finish() }
        return try image.outputResult(warnings)
    }

    /// The permissions of the existing file if the effective user owns it, so that no other user chooses them. Without
    /// setuid, setgid and sticky, which belong to the content that is replaced.
    private static func mode(replacing existing: FileStatus?) -> UInt32 {
        guard let existing, existing.uid == Process.effectiveUserID else {
            return 0o666 & ~Process.inheritedModeMask
        }
        return existing.mode & 0o777
    }

    private func write(_ job: ImageTarJob) throws(UnpackError) -> [String] {
        switch destination {
        case .standardOutput:
            let output = try attempt { try OutputFile.standardOutput() }
            return try job.run { try output.write($0) }
        case .file(let path):
            let folder = try makeDirectory(path.removingLastComponent())
            guard let name = path.lastName else {
                throw UnpackError(.usage, "'\(escaped(path))' is not the name of a file")
            }
            return try attempt(writingTo: .output) {
                let existing = try folder.status(of: name)
                guard existing?.kind ?? .regular == .regular else {
                    throw UnpackError(
                        .usage, "'\(escaped(path))' exists and is not a regular file",
                        hint: "remove it, or write to it with --output - >FILE")
                }
                var warnings = [String]()
                try folder.writeAtomically(
                    name, mode: Self.mode(replacing: existing), sync: request.durability == .fs
                ) { file in
                    let output = try OutputFile(file.duplicated())
                    warnings = try job.run { try output.write($0) }
                }
                return warnings
            }
        }
    }
}
