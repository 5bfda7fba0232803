internal import CISAL
internal import CZstd

/// Versions of the compression libraries.
package enum CompressionLibraries {
    /// Version of the libzstd that is loaded.
    package static var zstd: String { String(cString: ZSTD_versionString()) }
    /// Version of the ISA-L headers that the program was built with: the library has no function that returns its
    /// version.
    package static var isal: String { "\(ISAL_MAJOR_VERSION).\(ISAL_MINOR_VERSION).\(ISAL_PATCH_VERSION)" }
}
