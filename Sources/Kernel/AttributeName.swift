internal import CKernel
internal import SystemPackage

/// The full name of an extended attribute, e.g. `user.comment`: 1 to 255 bytes without NUL (xattr(7)).
package struct AttributeName: Hashable, Comparable, Sendable, CustomStringConvertible {
    private let terminated: [UInt8]

    /// Nil for an empty name, one with a NUL, or one over XATTR_NAME_MAX.
    package init?(_ bytes: some Collection<UInt8>) {
        guard !bytes.isEmpty, bytes.count <= 255, !bytes.contains(0) else { return nil }
        terminated = Array(bytes) + [0]
    }

    package init(literal: String) { terminated = Array(literal.utf8) + [0] }

    package var bytes: ArraySlice<UInt8> { terminated.dropLast() }
    package var description: String { escaped(bytes) }

    package func hasPrefix(_ prefix: StaticString) -> Bool {
        prefix.withUTF8Buffer { terminated.starts(with: $0) }
    }

    package static func < (left: Self, right: Self) -> Bool {
        left.terminated.lexicographicallyPrecedes(right.terminated)
    }

    func withCString<Result>(_ body: (UnsafePointer<CChar>) -> Result) -> Result {
        terminated.withUnsafeBytes { raw in
            raw.withMemoryRebound(to: CChar.self) { body($0.baseAddress.unsafelyUnwrapped) }
        }
    }
}

/// XATTR_SIZE_MAX and XATTR_LIST_MAX (linux/limits.h): the kernel allows no larger value or list.
private let largestAttribute = 65536

/// Reads the value of an attribute with `get`; nil if the attribute or the support of the file system is missing.
///
/// - Parameter get: calls getxattr(2) or a variant of it; returns the size, or -errno.
func readExtendedAttribute(
    _ call: String, _ name: AttributeName, _ get: (UnsafePointer<CChar>, UnsafeMutableRawPointer?, Int) -> Int
) throws(SyscallFailure) -> [UInt8]? {
    var size = 256
    while true {
        var value = [UInt8](repeating: 0, count: size)
        let result = name.withCString { get($0, &value, size) }
        switch Errno(rawValue: CInt(result < 0 ? -result : 0)) {
        case .outOfRange where size < largestAttribute: size = largestAttribute
        case .noData, .notSupported: return nil
        case let errno where result < 0: throw SyscallFailure(call, path: name.description, errno: errno)
        default: return Array(value.prefix(result))
        }
    }
}

/// Lists attribute names with `list`; empty if the file system does not support attributes.
///
/// - Parameter list: calls listxattr(2) or a variant of it; returns the size, or -errno.
func listExtendedAttributes(
    _ call: String, _ list: (UnsafeMutablePointer<CChar>?, Int) -> Int
) throws(SyscallFailure) -> [AttributeName] {
    var size = 1024
    while true {
        var names = [CChar](repeating: 0, count: size)
        let result = list(&names, size)
        switch Errno(rawValue: CInt(result < 0 ? -result : 0)) {
        case .outOfRange where size < largestAttribute: size = largestAttribute
        case .notSupported: return []
        case let errno where result < 0: throw SyscallFailure(call, errno: errno)
        default:
            return names.prefix(result).split(separator: 0).compactMap { name in
                AttributeName(name.map(UInt8.init(bitPattern:)))
            }
        }
    }
}
