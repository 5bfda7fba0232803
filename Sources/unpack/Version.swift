internal import Archive
internal import Compression
internal import Snapshots

/// What `--version` says.
enum Version {
    static let number = "0.1.0"

    static var text: String {
        """
        unpack \(number)
        OCI image-spec \(imageSpecification), runtime-spec \(runtimeSpecification)
        \(libraries)
        """
    }

    static var libraries: String {
        "\(ArchiveLibrary.version), libzstd \(CompressionLibraries.zstd), ISA-L \(CompressionLibraries.isal), SQLite \(SnapshotStore.databaseVersion)"
    }

    /// The versions of the OCI's specifications that the program was made by.
    static let imageSpecification = "1.1.1"
    static let runtimeSpecification = "1.2.1"
}
