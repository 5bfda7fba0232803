package import SystemPackage

/// The location of an image before it is opened.
package struct ImageSource: Hashable, Sendable {
    /// The required kind of source, as spelled in containers-transports(5).
    package enum Transport: String, Sendable, CaseIterable {
        /// An OCI image layout in a directory.
        case oci
        /// An OCI image layout in a tar.
        case ociArchive = "oci-archive"
        /// An archive as written by `docker save`.
        case dockerArchive = "docker-archive"
    }

    package static let standardInput = ImageSource("-")

    /// Path of the directory or archive; `-` is standard input.
    package let path: FilePath
    /// Nil for any kind.
    package let transport: Transport?

    /// The longest time for which a stream may send nothing, in nanoseconds; nil for any time.
    package let longestSilence: Int64?

    package init(_ path: FilePath, _ transport: Transport? = nil, longestSilence: Int64? = nil) {
        self.path = path
        self.transport = transport
        self.longestSilence = longestSilence
    }

    package var isStandardInput: Bool { path == "-" && transport != .oci }
}
