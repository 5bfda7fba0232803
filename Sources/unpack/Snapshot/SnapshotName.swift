internal import Kernel
internal import Mounts
internal import OCI
internal import Unpacking

/// Checks the name that a user gives to a snapshot.
///
/// It must be one shell word that is not an option, because it stands in mount lines. It must not be a chain ID: that
/// is the name of a verified layer, and a snapshot with the same name would prevent the layer from being unpacked.
///
/// - Throws: `.usage`.
func validateSnapshotName(_ key: String) throws {
    let isWord = key.split(separator: ":", omittingEmptySubsequences: false).allSatisfy {
        MountLine.isPlainValue(String($0))
    }
    guard isWord, !key.hasPrefix("-") else {
        throw UnpackError(
            .usage, "'\(escaped(key.utf8))' is not a valid snapshot name",
            hint: "use letters, digits and / . _ - + @ :, and no '-' at the beginning")
    }
    if (try? Digest(parsing: key)) != nil {
        throw UnpackError(
            .usage, "'\(key)' is a chain ID, which only an unpacked layer has as its name",
            hint: "choose another name")
    }
}
