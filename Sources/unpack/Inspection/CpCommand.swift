internal import ArgumentParser
internal import Kernel
internal import Programs
internal import Unpacking

/// Copies a file or a directory out of an image.
struct CpCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "cp", abstract: "Copy a file or a directory out of an image.",
        discussion: """
            Reads and verifies every layer, and those with the contents once more; needs neither root nor a store. The copy \
            belongs to the user, with the permissions and times of the image, and without setuid bits, owners, devices and \
            extended attributes. If DEST is an existing directory, the copy gets the same name in it. Nothing is replaced, \
            and nothing of a failed copy is left.

            \(pathDiscussion)
            """)

    @Argument(
        help: ArgumentHelp(
            "An image, a colon, and an absolute path in the image: image:debian:/etc/hosts.",
            valueName: "image:/path"),
        completion: .file())
    var source: String

    @Argument(
        help: ArgumentHelp("A directory for the copy, or its name.", valueName: "dest"), completion: .file())
    var destination: String

    @OptionGroup(title: "Which image") var selection: SelectionOptions
    @OptionGroup(title: "Messages") var verbosity: LogOptions

    func run() throws {
        let target = try absolutePath(destination, of: "DEST")
        let (image, path) = try split()
        let omitted = try copying(selection.choice(image), verbosity) { copy in
            try copy.copy(unescaped(path), typed: path, to: target)
        }
        if verbosity.quiet { return }
        for line in omitted {
            Log.print(LogLine(level: .warning, message: line), lines: ["unpack: warning: \(line)"])
        }
    }

    /// Splits the source at its last colon before a slash: an image may have colons too, as in `oci:/images/debian:12`.
    private func split() throws -> (image: String, path: String) {
        guard let place = source.ranges(of: ":/").last, place.lowerBound > source.startIndex else {
            throw UnpackError(
                .usage, "'\(escaped(source.utf8))' names no path in an image",
                hint: "write it as IMAGE:/PATH, e.g. image:debian:/etc/hosts")
        }
        let colon = place.lowerBound
        return (String(source[..<colon]), String(source[source.index(after: colon)...]))
    }
}
