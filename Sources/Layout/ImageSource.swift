package import SystemPackage

/// Where an image comes from, before it is opened.
package struct ImageSource: Hashable, Sendable {
    /// What it must be, as containers-transports(5) spells it.
    package enum Transport: String, Sendable, CaseIterable {
        /// An OCI image layout in a directory.
        case oci
        /// The same in a tar.
        case ociArchive = "oci-archive"
        /// What `docker save` writes.
        case dockerArchive = "docker-archive"
    }

    package static let standardInput = ImageSource("-")

    /// `-` is standard input.
    package let path: FilePath
    /// Nil is whatever is found there.
    package let transport: Transport?

    package init(_ path: FilePath, _ transport: Transport? = nil) {
        self.path = path
        self.transport = transport
    }

    package var isStandardInput: Bool { path == "-" && transport != .oci }
}
