internal import CISAL
internal import CZstd

/// The system's libraries that decompress.
package enum CompressionLibraries {
    /// Of the one that runs.
    package static var zstd: String { String(cString: ZSTD_versionString()) }
    /// Of the one that the program was built with: it does not tell by itself.
    package static var isal: String { "\(ISAL_MAJOR_VERSION).\(ISAL_MINOR_VERSION).\(ISAL_PATCH_VERSION)" }
}
