internal import Archive
internal import Compression
internal import Snapshots

/// The output of `--version`.
package enum Version {
    package static let number = "0.1.0"

    package static var text: String {
        """
        \(Program.name) \(number)
        OCI image-spec \(imageSpecification), runtime-spec \(runtimeSpecification)
        \(libraries)
        """
    }

    package static var libraries: String {
        "\(ArchiveLibrary.version), libzstd \(CompressionLibraries.zstd), ISA-L \(CompressionLibraries.isal), SQLite \(SnapshotStore.databaseVersion)"
    }

    /// The versions of the OCI specifications that the program implements.
    package static let imageSpecification = "1.1.1"
    package static let runtimeSpecification = "1.2.1"
}
