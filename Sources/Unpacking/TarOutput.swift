internal import Kernel
internal import Layout
package import Streams
package import SystemPackage

/// Writes an image as one tar, to a file or to standard output, with no store and no snapshots.
package struct TarOutput: Sendable {
    package enum Place: Sendable {
        /// Takes the place of what is there, once it is whole.
        case file(FilePath)
        case standardOutput
    }

    private let request: UnpackRequest
    private let place: Place
    private let latest: Int64?
    private let cancellation: Cancellation
    private let onEvent: @Sendable (UnpackEvent) -> Void

    /// - Parameters:
    ///   - request: of which image, selector, durability and limits count.
    ///   - latest: seconds since 1970; no file in it is newer. Nil leaves every time as it is.
    package init(
        _ request: UnpackRequest, to place: Place, latest: Int64?, cancellation: Cancellation,
        onEvent: @escaping @Sendable (UnpackEvent) -> Void
    ) {
        self.request = request
        self.place = place
        self.latest = latest
        self.cancellation = cancellation
        self.onEvent = onEvent
    }

    /// - Returns: what was said about the image.
    package func run() throws(UnpackError) -> PlainResult {
        let (layout, _, image) = try request.open(cancellation, onEvent)
        let opened = OpenedImage(layout: layout, image: image)
        let job = ImageTarJob(
            opened, limits: request.limits, latest: latest.map { Timestamp(seconds: $0, nanoseconds: 0) },
            cancellation: cancellation, onEvent: onEvent)
        let warnings = try write(job)
        try attempt { try layout.finish() }
        return try image.plainResult(warnings)
    }

    /// Permissions of the file that was there, if it was the user's own: another user would choose them. Never setuid, setgid
    /// or sticky, which belong to what a file holds.
    private static func mode(replacing there: FileStatus?) -> UInt32 {
        guard let there, there.uid == Process.effectiveUserID else {
            return 0o666 & ~Process.inheritedModeMask
        }
        return there.mode & 0o777
    }

    private func write(_ job: ImageTarJob) throws(UnpackError) -> [String] {
        switch place {
        case .standardOutput:
            let output = try attempt { try OutputFile.standardOutput() }
            return try job.run { try output.write($0) }
        case .file(let path):
            let folder = try makeDirectory(path.removingLastComponent())
            guard let name = path.lastName else {
                throw UnpackError(.usage, "'\(escaped(path))' names no file")
            }
            return try attempt {
                let there = try folder.status(of: name)
                guard there?.kind ?? .regular == .regular else {
                    throw UnpackError(
                        .usage, "'\(escaped(path))' is there, and no file",
                        hint: "remove it, or send the tar there: --output - >FILE")
                }
                var warnings = [String]()
                try folder.writeWhole(
                    name, mode: Self.mode(replacing: there), sync: request.durability == .fs
                ) { file in
                    let output = try OutputFile(file.duplicated())
                    warnings = try job.run { try output.write($0) }
                }
                return warnings
            }
        }
    }
}
