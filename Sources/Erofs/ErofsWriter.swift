/// Writes an EROFS image in one pass over the entries of a layer. `docs/erofs.md` describes the image.
///
/// Data and inodes leave the memory as they arrive: data to the image or to scratch space, inodes likewise. Names stay
/// until `finish`, which sorts them (`NameTable` has the cost). Everything else that stays takes a few bytes for each
/// directory, for each file with data after the tar, and for each hard link that changes attributes.
///
/// The same calls give the same bytes. A value must not be used any more after an error, and not be copied.
package struct ErofsWriter {
    package enum Form: Sendable {
        /// Blocks of 512 bytes, and the layer's tar, which the caller writes itself from `tarOffset` on, as the data area.
        /// Needs Linux 6.4, or an earlier one that has the change from there, such as 6.1.115.
        case tarBacked
        /// Blocks of 4096 bytes, the ends of files beside their inodes, no tar. Needs Linux 5.15 for files with holes.
        case packed
    }

    /// A file that is not a directory.
    package struct NodeID: Hashable, Sendable {
        /// First offset of the inode in the metadata, in units of 32 bytes.
        let slot: UInt64
    }

    package struct DirectoryID: Hashable, Sendable {
        let index: UInt32
    }

    /// What a name belongs to.
    package enum Target: Hashable, Sendable {
        case directory(DirectoryID)
        case file(NodeID, FileKind)
    }

    package static let root = DirectoryID(index: 0)
    /// Offset of the tar in a tar-backed image. A multiple of the block size of every file system, so that an
    /// uncompressed layer can be cloned.
    package static let tarOffset = Format.headerSize

    package let form: Form
    /// 16 bytes, derived from the layer. May be set until `finish`.
    package var uuid: [UInt8]

    var image: BufferedStore
    /// Inodes of a tar-backed image. A packed image has them between the data.
    var inodes: BufferedStore
    /// Data that follows the tar of a tar-backed image.
    var data: BufferedStore
    /// Inodes of directories, which are completed and copied in the end.
    var directories: BufferedStore

    var names = NameTable()
    /// Index of the parent by directory; the root is its own.
    var parents = PagedArray<UInt32>()
    var descriptions = PagedArray<Description>()

    var content: FileContent?
    /// End of the part of the tar that files use, as an offset in the image.
    var tarEnd = Format.headerSize
    /// The incomplete last block of the data of `content`.
    var tail = [UInt8]()
    /// Free part of the block of a packed image that takes the next inodes.
    var room: Range<UInt64> = 0..<0
    /// Addresses in inodes that are relative to the data after the tar: offset in the metadata, and number.
    var relativeAddresses = PagedArray<UInt64>()
    var relativeCounts = PagedArray<UInt32>()
    /// The present slot of each inode that was stored again, because new attributes did not fit. Names keep the first.
    var moved = [UInt64: UInt64]()

    var fileCount: UInt64 = 0
    var removedCount: UInt64 = 0
    var hasChunks = false
    /// Attributes of the root that do not fit beside its inode.
    var sharedAttributes = [UInt8]()
    // Reused, so that no entry allocates memory.
    var record = [UInt8]()
    var attributes = [UInt8]()

    var blockBits: UInt8 { form == .tarBacked ? 9 : 12 }
    var blockSize: UInt64 { 1 << UInt64(blockBits) }

    /// - Parameters:
    ///   - uuid: as the property.
    ///   - image: an empty store. The caller reads it after `finish` from `storage`, unless it is a reference.
    ///   - makeScratch: creates an empty store. A tar-backed image takes three: for inodes of files (64 bytes each and
    ///     their attributes), for data after the tar, and for inodes of directories. A packed image takes the last one
    ///     only.
    package init(
        _ form: Form, uuid: [UInt8] = [UInt8](repeating: 0, count: 16), image: any ByteStore,
        makeScratch: () throws -> any ByteStore = { MemoryStore() }
    ) throws {
        precondition(uuid.count == 16)
        self.form = form
        self.uuid = uuid
        self.image = BufferedStore(image, at: Format.headerSize)
        inodes = BufferedStore(form == .tarBacked ? try makeScratch() : MemoryStore())
        data = BufferedStore(form == .tarBacked ? try makeScratch() : MemoryStore())
        directories = BufferedStore(try makeScratch())
        parents.append(0)
        descriptions.append(Description())
    }

    /// Metadata of a directory.
    struct Description: BitwiseCopyable {
        /// Offset of the inode in `directories`; nil before there is one.
        var offset: UInt64?
        /// `i_xattr_icount`.
        var attributeCount: UInt16 = 0
        var isRemoved = false
    }

    /// The image's store.
    package var storage: any ByteStore { image.store }

    /// Bytes of memory that names, directories and lists take. The buffers, up to 1 MiB, and scratch space in memory are
    /// not included.
    package var memoryUse: Int {
        names.memory + parents.memory + descriptions.memory + relativeAddresses.memory + relativeCounts.memory
            + 40 * moved.capacity
    }

    /// Bytes of data that were appended, with padding. In a packed image inodes are included.
    package var appendedBytes: UInt64 {
        form == .packed ? image.end - Format.headerSize : data.end
    }

    // MARK: Names

    /// Returns what a name in a directory belongs to.
    package func lookUp(_ name: ArraySlice<UInt8>, in directory: DirectoryID) -> Target? {
        guard let record = names.find(name, in: directory.index).record else { return nil }
        let target = names[record]
        switch target.kind {
        case nil: return nil
        case .directory: return .directory(DirectoryID(index: UInt32(target.value)))
        case let kind?: return .file(NodeID(slot: target.value), kind)
        }
    }

    /// Gives a file another name, in place of any file that has the name.
    ///
    /// - Returns: whether a file was replaced.
    @discardableResult
    package mutating func link(
        _ node: NodeID, _ kind: FileKind, as name: ArraySlice<UInt8>, in directory: DirectoryID
    ) throws -> Bool {
        try check(name, in: directory)
        let links = try linkCount(of: node)
        guard links < UInt32.max else { throw ErofsError.tooManyLinks }
        try setLinkCount(of: node, links + 1)
        if links == 0 { removedCount -= 1 }
        return try setName(name, in: directory, NameTable.Target(value: node.slot, kind: kind))
    }

    /// Removes a name of a file that is not a directory. The data stays in the image.
    ///
    /// - Returns: whether there was one.
    @discardableResult
    package mutating func removeFile(_ name: ArraySlice<UInt8>, in directory: DirectoryID) throws -> Bool {
        guard let record = names.find(name, in: directory.index).record, let kind = names[record].kind else {
            return false
        }
        guard kind != .directory else { throw ErofsError.nameIsDirectory }
        try unlink(NodeID(slot: names[record].value))
        names[record].kind = nil
        return true
    }

    /// Removes a directory with everything below it. Its identifier and those of the directories below become invalid.
    package mutating func removeDirectory(_ name: ArraySlice<UInt8>, in directory: DirectoryID) throws {
        guard let record = names.find(name, in: directory.index).record, names[record].kind == .directory
        else {
            throw ErofsError.missing
        }
        // The names below are removed in the end.
        descriptions[Int(names[record].value)].isRemoved = true
        names[record].kind = nil
    }

    /// Creates a directory, in place of any file that has the name. It needs metadata before `finish`.
    package mutating func makeDirectory(
        _ name: ArraySlice<UInt8>, in parent: DirectoryID
    ) throws -> DirectoryID {
        try check(name, in: parent)
        guard parents.count < UInt32.max else { throw ErofsError.imageTooLarge }
        let index = UInt32(parents.count)
        try setName(name, in: parent, NameTable.Target(value: UInt64(index), kind: .directory))
        parents.append(parent.index)
        descriptions.append(Description())
        return DirectoryID(index: index)
    }

    /// Sets the metadata of a directory, any number of times.
    package mutating func describe(_ directory: DirectoryID, _ metadata: InodeMetadata) throws {
        let index = Int(directory.index)
        guard !descriptions[index].isRemoved else { throw ErofsError.missing }
        guard metadata.nanoseconds < 1_000_000_000 else { throw ErofsError.invalidTime }
        if directory == Self.root {
            try encodeRootAttributes(metadata.attributes)
        } else {
            try AttributeCoding.encode(metadata.attributes, into: &attributes)
        }
        var inode = Inode(.directory, metadata, layout: .plain, linkCount: 0)
        inode.attributeCount = Inode.attributeCount(ofSize: attributes.count)
        record.removeAll(keepingCapacity: true)
        inode.append(to: &record)
        record += attributes
        if let offset = descriptions[index].offset, descriptions[index].attributeCount == inode.attributeCount
        {
            return try directories.write(record, at: offset)
        }
        descriptions[index].offset = directories.end
        descriptions[index].attributeCount = inode.attributeCount
        try directories.append(record)
    }

    /// - Returns: whether a file was replaced.
    @discardableResult
    mutating func setName(
        _ name: ArraySlice<UInt8>, in directory: DirectoryID, _ target: NameTable.Target
    ) throws -> Bool {
        let position = names.find(name, in: directory.index)
        guard let record = position.record else {
            try names.add(name, in: directory.index, target, at: position)
            return false
        }
        let replaced = names[record]
        guard replaced.kind != .directory else { throw ErofsError.nameIsDirectory }
        names[record] = target
        if replaced.kind != nil { try unlink(NodeID(slot: replaced.value)) }
        return replaced.kind != nil
    }

    func check(_ name: ArraySlice<UInt8>, in directory: DirectoryID) throws(ErofsError) {
        guard (1...Format.maximumNameLength).contains(name.count), !isDots(name),
            !name.contains(where: { $0 == 0 || $0 == UInt8(ascii: "/") })
        else { throw .invalidName }
    }
}

/// Whether a name is `.` or `..`.
func isDots(_ name: ArraySlice<UInt8>) -> Bool {
    name.count <= 2 && !name.isEmpty && name.allSatisfy { $0 == UInt8(ascii: ".") }
}
