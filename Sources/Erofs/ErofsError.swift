/// Why an image cannot be written or read. Errors of a `ByteSource` or `ByteStore` pass unchanged.
///
/// The descriptions contain no bytes of the input. The caller adds the path and the name concerned.
package enum ErofsError: Error, Equatable, Sendable, CustomStringConvertible {
    // MARK: Writing

    /// A name is empty, `.` or `..`, longer than 255 bytes, or has a slash or a NUL.
    case invalidName
    /// A file cannot replace a directory: the caller removes the directory first.
    case nameIsDirectory
    /// A name, a file or a directory that the call refers to does not exist.
    case missing
    /// Nanoseconds of a time are 1,000,000,000 or more.
    case invalidTime
    /// The target of a symlink is empty, longer than 4095 bytes, or has a NUL.
    case invalidTarget
    /// A device number has a major of more than 12 bits or a minor of more than 20.
    case invalidDevice
    /// The name of an extended attribute has no prefix that EROFS can store, or nothing or more than 255 bytes after it.
    case unsupportedAttribute
    case duplicateAttribute
    /// A value has more than 65,535 bytes, the attributes of a file have more than 256 KiB, or those of the root, if they
    /// do not fit into 2880 bytes, are more than 255.
    case attributesTooLarge
    /// The data of a file came out of order, or does not have the size of the file.
    case invalidContent
    /// A file is larger than 2⁶³ − 1 bytes, or has holes and needs more than 4,194,304 chunks.
    case fileTooLarge
    /// The image needs more than 2³² blocks, or more than 2³² names or directories.
    case imageTooLarge
    /// A file has more than 2³² − 1 hard links.
    case tooManyLinks
    /// A directory has no metadata.
    case undescribedDirectory

    // MARK: Reading

    case notErofs
    /// A valid feature of EROFS that this reader does not support.
    case unsupported(Feature)
    /// A contradiction in the image, and the number of the node that has it; nil for the superblock.
    case corrupt(Reason, node: UInt64?)

    package enum Feature: String, Sendable {
        case blockSize = "block size"
        case directoryBlocks = "directory blocks of a size of their own"
        case features = "incompatible features"
        case devices = "extra devices"
        case compression = "compression"
        case inodeFormat = "inode format"
        case chunkFormat = "chunk format"
        case attributePrefixes = "long prefixes of extended attributes"
    }

    package enum Reason: String, Sendable {
        case checksum = "the checksum of the superblock is wrong"
        case truncated = "the image is shorter than its superblock says"
        case tarLength = "the tar is longer than the image"
        case outside = "an address is outside the image"
        case mode = "the file type is invalid"
        case size = "the size is invalid"
        case time = "the time is invalid"
        case inlineData = "inline data crosses a block"
        case attributes = "the extended attributes are malformed"
        case directory = "a directory block is malformed"
        case names = "the names of a directory are invalid or not in order"
        case kind = "a directory entry has another type than its inode"
        case parent = "a directory has another parent"
        case tree = "the tree has more names than the image can hold"
        case target = "the target of a symlink is invalid"
        case wrongKind = "the file has another type"
    }

    package var description: String {
        switch self {
        case .invalidName: "the name cannot be a directory entry"
        case .nameIsDirectory: "the name belongs to a directory"
        case .missing: "the file or directory does not exist"
        case .invalidTime: "the nanoseconds of the time are out of range"
        case .invalidTarget: "the target of the symlink is empty, longer than 4095 bytes, or contains a NUL"
        case .invalidDevice: "the device number is out of range"
        case .unsupportedAttribute: "EROFS cannot store an extended attribute of this name"
        case .duplicateAttribute: "an extended attribute occurs twice"
        case .attributesTooLarge: "the extended attributes are too large for EROFS"
        case .invalidContent: "the data of the file does not have the declared size or order"
        case .fileTooLarge: "the file is too large for EROFS"
        case .imageTooLarge: "the image exceeds the limits of EROFS"
        case .tooManyLinks: "the file has too many hard links"
        case .undescribedDirectory: "a directory has no metadata"
        case .notErofs: "this is not an EROFS image"
        case .unsupported(let feature): "this EROFS image is not supported: \(feature.rawValue)"
        case .corrupt(let reason, let node):
            "the EROFS image is corrupt: \(reason.rawValue)" + (node.map { " (node \($0))" } ?? "")
        }
    }
}
