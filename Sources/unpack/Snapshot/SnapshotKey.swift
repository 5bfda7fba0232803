internal import Kernel
internal import Mounts
internal import OCI
internal import Unpacking

/// A key stands in mount lines and other commands: there it is one word, and no option. A chain ID names what was
/// verified, and a snapshot of that name would keep the chain from being unpacked.
func checkKey(_ key: String) throws {
    let isWord = key.split(separator: ":", omittingEmptySubsequences: false).allSatisfy {
        MountLine.isPrintable(String($0))
    }
    guard isWord, !key.hasPrefix("-") else {
        throw UnpackError(
            .usage, "'\(escaped(key.utf8))' is no name for a snapshot",
            hint: "use letters, digits and / . _ - + @ :, and no '-' in front")
    }
    if (try? Digest(parsing: key)) != nil {
        throw UnpackError(
            .usage, "'\(key)' is the name of a chain, which only an unpacked layer has",
            hint: "choose another name")
    }
}
