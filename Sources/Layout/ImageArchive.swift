internal import Archive
internal import Compression
internal import Kernel
internal import OCI
internal import Streams
internal import SystemPackage

/// An image in a tar. A plain one on disk is read in place; one that is compressed or comes as a stream is kept in a file
/// without a name while it arrives, and what has arrived of it is read already.
final class ImageArchive: Sendable {
    typealias Content = MemberWalk.Member.Content

    /// More than any image has blobs.
    private static let mostMembers = 100_000

    private struct State: Sendable {
        var members = [String: Content]()
        /// Names that more than one member has: which of them counts, readers disagree on.
        var repeated = Set<String>()
        /// Bytes of the tar that can be read.
        var arrived: Int64 = 0
        /// Documents that were read, by the names of their members.
        var used = Set<String>()
        /// Nil while more members may come.
        var end: Result<Void, LayoutFailure>?
        /// Whether nobody wants the bytes any more.
        var isLeft = false
        /// Whether the stream was read to its end, or to an error.
        var isRead = false
    }

    /// For messages.
    let path: FilePath
    private let file: File
    private let state = Watched(State())
    private let cancellation: Cancellation
    private let onArrival: ImageLayout.Arrival
    /// Where what arrives is kept.
    private let folder: FilePath
    /// Bytes that it may take there.
    private let room: Int64

    /// A plain tar on disk.
    ///
    /// - Throws: `.unreadable`, `.system`.
    init(_ path: FilePath, inPlace file: consuming File, cancellation: Cancellation) throws(LayoutFailure) {
        self.path = path
        self.file = file
        self.cancellation = cancellation
        onArrival = { _ in }
        folder = path
        room = .max
        do {
            let size = try self.file.status().size
            var walk = MemberWalk()
            var chunk = [UInt8]()
            while !walk.hasEnded {
                try cancellation.check()
                try self.file.read(into: &chunk, limit: 1 << 14, at: walk.offset)
                if chunk.isEmpty { break }
                try add(try chunk.withRawSpan { span throws(ArchiveFailure) in try walk.feed(span) })
                walk.skip()
                if walk.offset > size { throw LayoutFailure.unreadable(path, reason: "it ends too early") }
            }
            try walk.finish()
            state.change {
                $0.arrived = size
                $0.end = .success(())
                $0.isRead = true
            }
        } catch {
            throw LayoutFailure(error, reading: path)
        }
    }

    /// What comes from a stream, or is compressed.
    ///
    /// - Parameter folder: where it is kept.
    /// - Throws: `.system` where that cannot be.
    init(
        _ path: FilePath, arriving stream: ArchiveStream, in folder: FilePath, cancellation: Cancellation,
        onArrival: @escaping ImageLayout.Arrival
    ) throws(LayoutFailure) {
        self.path = path
        self.cancellation = cancellation
        self.onArrival = onArrival
        do {
            file = try File.temporary(in: folder)
            self.folder = folder
            room = try file.freeBytes() / 10 * 9
            // It is not waited for: what it reads from may never end, and the process does.
            try WorkerThread { self.receive(stream) }.detach()
        } catch {
            throw .system(error)
        }
    }

    private func receive(_ stream: ArchiveStream) {
        var walk = MemberWalk()
        do {
            try stream.read { bytes in
                // What stands behind its end is nothing to anybody.
                if walk.hasEnded { return }
                try add(try walk.feed(bytes))
                let (position, isLeft) = state.change { ($0.arrived, $0.isLeft) }
                if !isLeft { try keep(bytes, at: position) }
                state.change { state in
                    state.arrived += Int64(bytes.byteCount)
                    if walk.hasEnded { state.end = .success(()) }
                }
            }
            try walk.finish()
            state.change {
                if $0.end == nil { $0.end = .success(()) }
                $0.isRead = true
            }
        } catch {
            state.change {
                if $0.end == nil { $0.end = .failure(LayoutFailure(error, reading: path)) }
                $0.isRead = true
            }
        }
    }

    private func keep(_ bytes: RawSpan, at position: Int64) throws(LayoutFailure) {
        // An archive that unpacks to any size must not fill the file system.
        if position + Int64(bytes.byteCount) > room {
            throw .noRoom(folder, SyscallFailure("pwrite", errno: .noSpace))
        }
        do {
            try file.write(bytes, at: position)
        } catch {
            throw error.isOutOfSpace ? .noRoom(folder, error) : .system(error)
        }
    }

    private func add(_ members: [MemberWalk.Member]) throws(LayoutFailure) {
        if members.isEmpty { return }
        let (count, reused) = state.change { state in
            var reused: String?
            for member in members where state.members.updateValue(member.content, forKey: member.path) != nil
            {
                state.repeated.insert(member.path)
                if state.used.contains(member.path) { reused = member.path }
            }
            return (state.members.count, reused)
        }
        if let reused { throw repeated(reused) }
        if count > Self.mostMembers {
            throw .unreadable(path, reason: "it has more than \(Self.mostMembers) members")
        }
    }

    /// Readers disagree on which of them counts.
    private func repeated(_ name: String) -> LayoutFailure {
        .notALayout(path, reason: "it has more than one \(escaped(name.utf8))")
    }

    // MARK: Reading

    /// Where a member's bytes stand; waits until the member has come, or the end. Links are followed inside the archive.
    ///
    /// - Returns: nil where there is none.
    /// - Throws: `.unreadable` for an archive that ends or breaks before it, and for what is no file.
    /// - Parameter isDocument: whether nothing else says what its bytes must be: then it may be there only once.
    func place(of name: String, isDocument: Bool = false) throws(LayoutFailure) -> Range<Int64>? {
        let content = try find(name)
        if case .failure(let failure) = state.change({ $0.end }), content == nil { throw failure }
        return try content.flatMap { content throws(LayoutFailure) in try place(content, name, isDocument) }
    }

    /// Whether all members are known.
    var isComplete: Bool { state.change { $0.end != nil } }

    private func find(_ name: String) throws(LayoutFailure) -> Content? {
        do {
            return try state.wait(cancellation, meanwhile: { onArrival($0.arrived) }) { state in
                state.members[name].map { .some($0) } ?? (state.end == nil ? nil : .some(nil))
            }
        } catch {
            throw .cancelled(error)
        }
    }

    private func place(
        _ content: Content, _ name: String, _ isDocument: Bool
    ) throws(LayoutFailure) -> Range<Int64>? {
        var content = content
        var path = name
        // As many as the kernel follows (path_resolution(7)).
        for _ in 0..<40 {
            if isDocument, !use(path) { throw repeated(path) }
            switch content {
            case .file(let range): return range
            case .symlink(let target):
                path = Self.resolve(String(decoding: target, as: UTF8.self), from: path)
            case .hardLink(let target): path = target
            case .directory:
                throw .unreadable(self.path, reason: "\(escaped(name.utf8)) is a directory in it")
            case .other: throw .unreadable(self.path, reason: "\(escaped(name.utf8)) is no plain file in it")
            }
            guard let next = try find(path) else { return nil }
            content = next
        }
        throw .unreadable(self.path, reason: "\(escaped(name.utf8)) is a link that leads nowhere")
    }

    /// - Returns: false if there is more than one of it.
    private func use(_ name: String) -> Bool {
        state.change { state in
            if state.repeated.contains(name) { return false }
            state.used.insert(name)
            return true
        }
    }

    /// As text: what is a folder in an archive need not be a member.
    private static func resolve(_ target: String, from link: String) -> String {
        var components = target.hasPrefix("/") ? [] : link.split(separator: "/").dropLast()
        for part in target.split(separator: "/") where part != "." {
            if part == ".." { _ = components.popLast() } else { components.append(part) }
        }
        return components.joined(separator: "/")
    }

    /// Replaces the buffer's content with the next bytes of a range, as many as are there and the limit allows; none at its
    /// end. Waits for the first.
    func read(into buffer: inout [UInt8], limit: Int, at position: Int64, of range: Range<Int64>)
        throws(LayoutFailure)
    {
        guard position < range.upperBound else {
            buffer.removeAll()
            return
        }
        do {
            let (arrived, end) = try state.wait(cancellation) { state in
                state.arrived > position || state.end != nil ? (state.arrived, state.end) : nil
            }
            if arrived <= position, case .failure(let failure)? = end { throw failure }
            let count = min(Int64(limit), range.upperBound - position, max(arrived - position, 0))
            try file.read(into: &buffer, limit: Int(count), at: position)
        } catch {
            throw LayoutFailure(error, reading: path)
        }
    }

    /// All of a range.
    func bytes(of range: Range<Int64>) throws(LayoutFailure) -> [UInt8] {
        var bytes = [UInt8]()
        var chunk = [UInt8]()
        repeat {
            try read(into: &chunk, limit: 1 << 16, at: range.lowerBound + Int64(bytes.count), of: range)
            bytes += chunk
        } while !chunk.isEmpty
        return bytes
    }
}

extension ImageArchive: LayoutFiles {
    func document(_ name: String) throws(LayoutFailure) -> [UInt8]? {
        guard let range = try place(of: name, isDocument: true) else { return nil }
        let size = Int64(range.count)
        if size > ImageLayout.largestIndex {
            throw .documentTooLarge(name: name, size: size, limit: ImageLayout.largestIndex)
        }
        return try bytes(of: range)
    }

    func open(_ descriptor: Descriptor) throws(LayoutFailure) -> VerifiedBlob.Source {
        guard let range = try place(of: blobPath(descriptor.digest)) else {
            throw .blobMissing(descriptor.digest)
        }
        return try source(range, descriptor)
    }

    func checkWhole() throws(LayoutFailure) {
        if case .failure(let failure) = state.change({ $0.end }) { throw failure }
    }

    func check(_ descriptor: Descriptor) throws(LayoutFailure) {
        // What may still come is not waited for.
        guard isComplete else { return }
        _ = try open(descriptor)
    }

    /// - Throws: `.wrongSize`.
    func source(_ range: Range<Int64>, _ descriptor: Descriptor) throws(LayoutFailure) -> VerifiedBlob.Source
    {
        guard range.count == descriptor.size else {
            throw .wrongSize(descriptor.digest, expected: descriptor.size, found: Int64(range.count))
        }
        return .member(self, range)
    }

    func finish() throws(LayoutFailure) {
        state.change { $0.isLeft = true }
        try? state.wait(cancellation) { $0.isRead ? () : nil }
        // What else is wrong with the rest is nothing to what was read.
        if let name = state.change({ state in state.used.first { state.repeated.contains($0) } }) {
            throw repeated(name)
        }
    }
}

extension LayoutFailure {
    /// What went wrong with an archive.
    init(_ error: any Error, reading path: FilePath) {
        switch error {
        case let error as LayoutFailure: self = error
        case let error as SyscallFailure: self = .system(error)
        case let error as Cancelled: self = .cancelled(error)
        case let error as ArchiveFailure: self = .unreadable(path, reason: "\(error)")
        case CompressionFailure.unknownFormat(let name):
            self = .notALayout(path, reason: "\(CompressionFailure.unknownFormat(name))")
        case CompressionFailure.windowTooLarge(let limit): self = .windowTooLarge(path, limit: limit)
        case let error as CompressionFailure: self = .unreadable(path, reason: "\(error)")
        default: self = .unreadable(path, reason: "\(error)")
        }
    }
}
