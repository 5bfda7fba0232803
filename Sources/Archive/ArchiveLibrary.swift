internal import CArchive

/// The system's libarchive.
package enum ArchiveLibrary {
    /// `libarchive 3.6.2`, of the one that runs.
    package static var version: String { String(cString: archive_version_string()) }
}
