internal import ArgumentParser
internal import Kernel
internal import Mounts
internal import Programs
internal import SystemPackage
internal import Unpacking

/// A word in the place of an image that names no image: a command in the wrong place, a misspelt one, one of another
/// program, or an image of a registry.
struct UnknownName {
    private let word: String
    private let commands: [String]

    /// - Parameter word: names no file and nothing in the store.
    init(_ word: String) {
        self.word = word
        commands = RootCommand.configuration.subcommands.filter { $0.configuration.shouldDisplay }
            .compactMap { $0.configuration.commandName }
    }

    /// The commands of this program for what other programs call a command.
    private static let equivalents = [
        "build": "unpack IMAGE", "create": "unpack IMAGE --rw KEY", "df": "unpack snapshot usage",
        "du": "unpack snapshot usage", "exec": "unpack run-in-namespace",
        "extract": "unpack IMAGE --output DIR",
        "gc": "unpack prune", "history": "unpack inspect IMAGE", "image": "unpack images",
        "import": "unpack FILE", "info": "unpack doctor", "list": "unpack images", "load": "unpack FILE",
        "ps": "unpack snapshot ls", "remove": "unpack rm", "rmi": "unpack rm",
        "run": "unpack run-in-namespace",
        "snapshots": "unpack snapshot ls", "start": "unpack mount", "unmount": "unpack umount",
        "unpack": "unpack IMAGE", "version": "unpack --version",
    ]

    /// The error if the word is a command or was probably meant as one; nil if not.
    var command: UnpackError? {
        guard !word.isEmpty, word.utf8.allSatisfy({ (0x61...0x7A).contains($0) || $0 == 0x2D }),
            (try? FilePath(word).resolved()) == nil
        else { return nil }
        if commands.contains(word) {
            return UnpackError(
                .usage, "'\(word)' is a command, and must come before its options",
                hint: "unpack \(word) [options]; an image of this name is ./\(word)")
        }
        let meant =
            Self.equivalents[word]
            ?? SimilarWord.closest(to: word, among: commands).map { "unpack \($0)" }
        if word == "pull" {
            return UnpackError(
                .usage, "'pull' is not a command: unpack does not download",
                hint: "skopeo copy docker://NAME oci:image:latest && unpack image")
        }
        return meant.map {
            UnpackError(
                .usage, "'\(word)' is neither an image here nor a command", hint: "did you mean '\($0)'?")
        }
    }

    /// The error for a directory after the image, as for `unpack mount`; nil if there is none.
    static func directory(after words: CommandWords) -> UnpackError? {
        guard words.positionals.count == 2, words.unknownOptions.isEmpty else { return nil }
        let mount: [ShellWord] =
            ["unpack", "mount"] + words.positionals.map { ShellWord(quoting: $0, orElse: "IMAGE") }
        return UnpackError(
            .usage, "'unpack' takes one image, and no argument '\(escaped(words.positionals[1].utf8))'",
            hint: "to mount it: \(mount.command)")
    }

    /// The error for a word that looks like the name of an image in a registry; nil if it does not.
    var registryImage: UnpackError? {
        guard let copied = Self.directory(for: word) else { return nil }
        let copy: [ShellWord] = [
            "skopeo", "copy", ShellWord(quoting: "docker://\(word)", orElse: "docker://NAME"),
            ShellWord(quoting: "oci:\(copied)", orElse: "oci:image:latest"),
        ]
        let unpack: [ShellWord] = ["unpack", ShellWord(quoting: copied, orElse: "image:latest")]
        return UnpackError(
            .notFound, "there is no image '\(escaped(word.utf8))' here, and unpack does not download",
            hint: "\(copy.command) && \(unpack.command)")
    }

    /// The layout and reference to copy an image of a registry to: `debian:12` for `docker.io/library/debian:12`.
    ///
    /// - Returns: nil for what is not the name of an image (https://pkg.go.dev/github.com/distribution/reference), or is
    ///   more probably a path.
    private static func directory(for name: String) -> String? {
        let allowed = Set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-/:@".utf8)
        guard let first = name.utf8.first, first != UInt8(ascii: "."), first != UInt8(ascii: "/"),
            name.utf8.allSatisfy(allowed.contains), !name.hasSuffix("/"), !name.contains("//")
        else { return nil }
        let parts = name.split(separator: "/", omittingEmptySubsequences: false)
        guard let last = parts.last else { return nil }
        let isArchive = [".tar", ".tgz", ".gz", ".zst", ".oci"].contains { last.hasSuffix($0) }
        // Without a registry or a tag, a name with slashes is more probably a path.
        let hasRegistry =
            parts.count > 1 && (parts[0].contains(".") || parts[0].contains(":") || parts[0] == "localhost")
        guard !isArchive, parts.count == 1 || hasRegistry || last.contains(":") || last.contains("@"),
            parts.dropLast().allSatisfy({ !$0.isEmpty })
        else { return nil }
        let plain = last.prefix { $0 != ":" && $0 != "@" }
        guard !plain.isEmpty else { return nil }
        let tag = last.dropFirst(plain.count).prefix { $0 != "@" }.dropFirst()
        return "\(plain):\(tag.isEmpty ? "latest" : String(tag))"
    }
}
