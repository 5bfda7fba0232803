internal import CArchive

/// The libarchive that the program is linked with.
package enum ArchiveLibrary {
    /// Version of the libarchive that is loaded, e.g. `libarchive 3.6.2`.
    package static var version: String { String(cString: archive_version_string()) }
}
