internal import Kernel
internal import Mounts
internal import Programs
internal import SystemPackage
internal import Unpacking

/// The destination that `--output` names.
enum OutputDestination {
    case directory(FilePath)
    case tar(TarOutput.Destination)

    /// `-` is a tar on stdout, and a name that ends with `.tar` is a tar file, unless a directory of that name exists.
    ///
    /// - Throws: `.usage` for a terminal as stdout, and for the name of a compressed tar or of a format.
    init(_ text: String) throws {
        if text == "-" {
            if Console.outputIsTerminal {
                throw UnpackError(
                    .usage, "stdout is a terminal: a tar is not written to one",
                    hint: "redirect it with | or >")
            }
            self = .tar(.standardOutput)
            return
        }
        if UnpackCommand.Format(rawValue: text) != nil {
            throw UnpackError(
                .usage, "--output takes a directory or a tar, not the name of a format",
                hint: "did you mean --format \(text)? A directory of this name is ./\(text)")
        }
        let path = try absoluteNameUnresolved(text, of: "--output")
        for ending in [".tar.gz", ".tgz", ".tar.zst", ".tar.xz", ".tar.bz2"] where text.hasSuffix(ending) {
            throw UnpackError(
                .usage, "--output writes no compressed tar",
                hint: "unpack IMAGE --output - | gzip >\(ShellWord(quoting: text, orElse: "FILE").text)")
        }
        let isDirectory = (try? Directory(opening: path)) != nil
        if text.hasSuffix(".tar"), !isDirectory {
            self = .tar(.file(path))
        } else {
            self = .directory(try attempt { try path.resolvingOwnSymlinks() })
        }
    }
}

/// - Throws: `.usage` if both `--ro` and `--rw` are given.
func refuse(readOnly: Bool, _ writableKey: String?) throws {
    if readOnly, writableKey != nil { throw UnpackError(.usage, "--ro and --rw exclude each other") }
}

/// The value of `SOURCE_DATE_EPOCH`, in seconds since 1970: the latest time in a reproducible build
/// (https://reproducible-builds.org/specs/source-date-epoch).
///
/// - Throws: `.usage` if it is not a number of seconds.
func sourceDateEpoch() throws -> Int64? {
    guard let text = environment("SOURCE_DATE_EPOCH") else { return nil }
    guard let seconds = Int64(text), seconds >= 0 else {
        throw UnpackError(
            .usage, "SOURCE_DATE_EPOCH is a number of seconds, not \(escaped(text.utf8))",
            hint: "correct it, or unset it")
    }
    return seconds
}
