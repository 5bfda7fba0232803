internal import Kernel
package import Layout
internal import Mounts
package import OCI
internal import SystemPackage

/// An image as the command line names it: where it is, and which one of it.
package struct ImageChoice: Sendable {
    package let source: ImageSource
    package let selector: Selector

    /// - Parameters:
    ///   - argument: in the syntax of `ImageArgument`.
    ///   - reference, digest, platform: of options; nil for none.
    ///   - longestSilence: as that of `ImageSource`.
    /// - Throws: `.usage`.
    package init(
        _ argument: String, reference: String?, digest: String?, platform: String?,
        longestSilence: Int64? = nil
    ) throws(UnpackError) {
        if argument.isEmpty { throw UnpackError(.usage, "IMAGE is empty", hint: "name a directory") }
        let parsed = try Self.parse(argument)
        let digest = try digest.map { text throws(UnpackError) in
            try Self.usage { try Digest(parsing: text) }
        }
        if parsed.reference != nil, reference != nil {
            throw UnpackError(.usage, "the reference is given twice", hint: "use either IMAGE:REF or --ref")
        }
        if parsed.digest != nil, digest != nil {
            throw UnpackError(
                .usage, "the digest is given twice", hint: "use either IMAGE@DIGEST or --digest")
        }
        source = ImageSource(parsed.source.path, parsed.source.transport, longestSilence: longestSilence)
        selector = Selector(
            reference: parsed.reference ?? reference, digest: parsed.digest ?? digest,
            position: parsed.position,
            platform: try platform.map { text throws(UnpackError) in
                try Self.usage { try Platform(parsing: Self.completed(platform: text)) }
            })
    }

    /// An architecture alone is one of Linux: `arm64` is `linux/arm64`.
    private static func completed(platform: String) -> String {
        architectures.contains(platform) ? "linux/" + platform : platform
    }

    /// Architectures of images, as Go names them or as uname(1) prints them.
    private static let architectures: Set = [
        "386", "aarch64", "amd64", "arm", "arm64", "armhf", "i386", "loong64", "mips64le", "ppc64le",
        "riscv64", "s390x",
        "x86_64",
    ]

    /// Whether its file or directory exists, as far as this user can see, or it is standard input.
    package var isPresent: Bool { source.isStandardInput || (try? source.path.exists()) ?? true }

    private static func parse(_ argument: String) throws(UnpackError) -> ImageArgument {
        do {
            return try ImageArgument(parsing: argument) { (try? $0.resolved()) != nil }
        } catch let foreign as UnsupportedTransport {
            let copy: [ShellWord] = [
                "skopeo", "copy", ShellWord(quoting: foreign.text, orElse: "IMAGE"), "oci:image:latest",
            ]
            throw UnpackError(
                .usage,
                ["docker", "http", "https"].contains(foreign.name)
                    ? "unpack does not download: it reads images on the local disk, not from '\(foreign.name):'"
                    : "unpack reads OCI layouts and archives, not '\(foreign.name):'",
                hint: "\(copy.command) && unpack image")
        } catch {
            throw UnpackError(.usage, "\(error)")
        }
    }

    private static func usage<Value>(_ body: () throws -> Value) throws(UnpackError) -> Value {
        do {
            return try body()
        } catch {
            throw UnpackError(.usage, "\(error)")
        }
    }
}

/// A layout, and the verified documents of one of its images.
package struct OpenedImage: Sendable {
    package let layout: ImageLayout
    package let image: Image

    package init(layout: ImageLayout, image: Image) {
        self.layout = layout
        self.image = image
    }

    /// Opens the one image that a choice names.
    package init(_ choice: ImageChoice) throws(UnpackError) {
        self = try attempt {
            let layout = try ImageLayout(opening: choice.source)
            return OpenedImage(
                layout: layout, image: try layout.load(try layout.select(choice.selector).descriptor))
        }
    }
}
