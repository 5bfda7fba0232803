package import SystemPackage

/// A path as the kernel takes it: bytes, which need not be UTF-8 (path_resolution(7)). `FilePath.string` puts U+FFFD in
/// their place, so that it names another file.
extension FilePath {
    package init(_ bytes: some Collection<UInt8>) {
        self.init(platformString: bytes.map(CInterop.PlatformChar.init(bitPattern:)) + [0])
    }

    /// Without the NUL behind them.
    package var bytes: [UInt8] {
        withPlatformString {
            UnsafeBufferPointer(start: $0, count: length).map(UInt8.init(bitPattern:))
        }
    }

    /// The last component; nil where there is none, or it is `.`, `..` or longer than a name can be.
    package var lastName: FileName? {
        bytes.split(separator: UInt8(ascii: "/")).last.flatMap { FileName($0) }
    }
}
