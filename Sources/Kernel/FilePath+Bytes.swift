package import SystemPackage

/// A path as bytes, which need not be UTF-8 (path_resolution(7)). `FilePath.string` replaces invalid bytes with U+FFFD,
/// and so names another file.
extension FilePath {
    package init(_ bytes: some Collection<UInt8>) {
        self.init(platformString: bytes.map(CInterop.PlatformChar.init(bitPattern:)) + [0])
    }

    /// Without a terminating NUL.
    package var bytes: [UInt8] {
        withPlatformString {
            UnsafeBufferPointer(start: $0, count: length).map(UInt8.init(bitPattern:))
        }
    }

    /// The last component; nil if there is none, or if it is `.`, `..` or too long for a name.
    package var lastName: FileName? {
        bytes.split(separator: UInt8(ascii: "/")).last.flatMap { FileName($0) }
    }
}
