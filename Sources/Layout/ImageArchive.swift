internal import Archive
internal import Compression
internal import Kernel
internal import OCI
internal import Streams
internal import SystemPackage

/// An image in a tar. An uncompressed tar on disk is read in place. A compressed one or a stream is written to an
/// unnamed temporary file while it arrives, and the part that has arrived can already be read.
final class ImageArchive: Sendable {
    typealias Content = MemberWalk.Member.Content

    /// Maximum number of members; no image has as many blobs.
    private static let mostMembers = 100_000

    private struct State: Sendable {
        var members = [String: Content]()
        /// Names of duplicate members: readers disagree on which one counts.
        var repeated = Set<String>()
        /// Number of bytes of the tar that can be read.
        var arrived: Int64 = 0
        /// Members that were used as documents, or as links to them.
        var used = Set<String>()
        /// The result of the header walk; nil while more members may follow.
        var end: Result<Void, LayoutFailure>?
        /// Whether the remaining bytes are no longer needed.
        var isAbandoned = false
        /// Whether the stream was read to its end or to an error, or is not waited for any more.
        var isRead = false
        /// When the last bytes arrived.
        var lastArrival = ContinuousClock.now
    }

    /// For messages.
    let path: FilePath
    private let file: File
    private let state = WaitableState(State())
    private let cancellation: Cancellation
    private let onProgress: ImageLayout.Arrival
    /// Directory of the temporary file.
    private let folder: FilePath
    /// Maximum size of the temporary file in bytes.
    private let capacity: Int64
    /// The longest time for which a stream may send nothing, in nanoseconds; nil for any time.
    private let longestSilence: Int64?

    /// Opens an uncompressed tar on disk.
    ///
    /// - Throws: `.unreadable`, `.system`.
    init(_ path: FilePath, inPlace file: consuming File, cancellation: Cancellation) throws(LayoutFailure) {
        self.path = path
        self.file = file
        self.cancellation = cancellation
        onProgress = { _ in }
        folder = path
        capacity = .max
        longestSilence = nil
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

    /// Opens a stream or a compressed archive, and starts a thread that receives it.
    ///
    /// - Parameter folder: directory for the temporary file.
    /// - Throws: `.system` if the file or the thread cannot be created.
    init(
        _ path: FilePath, arriving stream: ArchiveStream, longestSilence: Int64?, in folder: FilePath,
        cancellation: Cancellation, onProgress: @escaping ImageLayout.Arrival
    ) throws(LayoutFailure) {
        self.path = path
        self.longestSilence = longestSilence
        self.cancellation = cancellation
        self.onProgress = onProgress
        do {
            file = try File.temporary(in: folder)
            self.folder = folder
            capacity = try file.freeBytes() / 10 * 9
            // The thread is not joined: its input may never end, but the process must be able to.
            try WorkerThread { self.receive(stream) }.detach()
        } catch {
            throw .system(error)
        }
    }

    private func receive(_ stream: ArchiveStream) {
        var walk = MemberWalk()
        do {
            try stream.read { bytes in
                // Bytes after the end of the archive are ignored.
                if walk.hasEnded { return }
                try add(try walk.feed(bytes))
                let (position, isAbandoned) = state.change { ($0.arrived, $0.isAbandoned) }
                if !isAbandoned { try keep(bytes, at: position) }
                state.change { state in
                    state.arrived += Int64(bytes.byteCount)
                    state.lastArrival = .now
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
        // A decompression bomb must not fill the file system.
        if position + Int64(bytes.byteCount) > capacity {
            throw .noSpace(folder, reason: "it has more than \(capacity) bytes uncompressed")
        }
        do {
            try file.write(bytes, at: position)
        } catch {
            throw error.isOutOfSpace ? .noSpace(folder, reason: "\(error)") : .system(error)
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

    /// The error for a duplicate member: readers disagree on which one counts.
    private func repeated(_ name: String) -> LayoutFailure {
        .notALayout(path, reason: "it has more than one \(escaped(name.utf8))")
    }

    // MARK: Reading

    /// Returns the range of a member's bytes. Waits until the member or the end of the archive arrives. Links are
    /// followed inside the archive.
    ///
    /// - Returns: nil if there is no such member.
    /// - Throws: `.unreadable` if the archive ends or is damaged before the member, and if the member is not a file.
    /// - Parameter isDocument: whether the content is not verified by a digest; then the member must be unique.
    func range(of name: String, isDocument: Bool = false) throws(LayoutFailure) -> Range<Int64>? {
        let content = try find(name)
        if case .failure(let failure) = state.change({ $0.end }), content == nil { throw failure }
        return try content.flatMap { content throws(LayoutFailure) in try range(content, name, isDocument) }
    }

    /// Whether all members are known, or the walk has failed.
    var isComplete: Bool { state.change { $0.end != nil } }

    /// Ends the wait for a stream that sends nothing.
    private func endIfSilent(_ seen: State) {
        guard let longestSilence, ContinuousClock.now - seen.lastArrival > .nanoseconds(longestSilence) else {
            return
        }
        state.change { state in
            if state.end == nil { state.end = .failure(.silent(path, longestSilence)) }
            state.isRead = true
        }
    }

    private func find(_ name: String) throws(LayoutFailure) -> Content? {
        do {
            return try state.wait(
                cancellation,
                meanwhile: {
                    onProgress($0.arrived)
                    endIfSilent($0)
                }
            ) { state in
                state.members[name].map { .some($0) } ?? (state.end == nil ? nil : .some(nil))
            }
        } catch {
            throw .cancelled(error)
        }
    }

    private func range(
        _ content: Content, _ name: String, _ isDocument: Bool
    ) throws(LayoutFailure) -> Range<Int64>? {
        var content = content
        var path = name
        // The limit of the kernel (path_resolution(7)).
        for _ in 0..<40 {
            if isDocument, !use(path) { throw repeated(path) }
            switch content {
            case .file(let range): return range
            case .symlink(let target):
                path = Self.resolve(String(decoding: target, as: UTF8.self), from: path)
            case .hardLink(let target): path = target
            case .directory:
                throw .unreadable(self.path, reason: "\(escaped(name.utf8)) in it is a directory")
            case .other:
                throw .unreadable(self.path, reason: "\(escaped(name.utf8)) in it is not a plain file")
            }
            guard let next = try find(path) else { return nil }
            content = next
        }
        throw .unreadable(self.path, reason: "\(escaped(name.utf8)) in it leads through more than 40 links")
    }

    /// Marks a member as used.
    ///
    /// - Returns: false if the member is not unique.
    private func use(_ name: String) -> Bool {
        state.change { state in
            if state.repeated.contains(name) { return false }
            state.used.insert(name)
            return true
        }
    }

    /// Resolves a link target lexically: directories need not be members of the archive.
    private static func resolve(_ target: String, from link: String) -> String {
        var components = target.hasPrefix("/") ? [] : link.split(separator: "/").dropLast()
        for part in target.split(separator: "/") where part != "." {
            if part == ".." { _ = components.popLast() } else { components.append(part) }
        }
        return components.joined(separator: "/")
    }

    /// Replaces the buffer's content with the next bytes of a range: as many as have arrived, at most `limit`, and
    /// none at the end of the range. Waits for at least one byte.
    func read(into buffer: inout [UInt8], limit: Int, at position: Int64, of range: Range<Int64>)
        throws(LayoutFailure)
    {
        guard position < range.upperBound else {
            buffer.removeAll()
            return
        }
        do {
            let (arrived, end) = try state.wait(cancellation, meanwhile: endIfSilent) { state in
                state.arrived > position || state.end != nil ? (state.arrived, state.end) : nil
            }
            if arrived <= position, case .failure(let failure)? = end { throw failure }
            let count = min(Int64(limit), range.upperBound - position, max(arrived - position, 0))
            try file.read(into: &buffer, limit: Int(count), at: position)
        } catch {
            throw LayoutFailure(error, reading: path)
        }
    }

    /// Reads all bytes of a range.
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
        guard let range = try range(of: name, isDocument: true) else { return nil }
        let size = Int64(range.count)
        if size > ImageLayout.largestIndex {
            throw .documentTooLarge(name: name, size: size, limit: ImageLayout.largestIndex)
        }
        return try bytes(of: range)
    }

    func open(_ descriptor: Descriptor) throws(LayoutFailure) -> VerifiedBlob.Source {
        guard let range = try range(of: blobPath(descriptor.digest)) else {
            throw .blobMissing(descriptor.digest)
        }
        return try source(range, descriptor)
    }

    func checkComplete() throws(LayoutFailure) {
        if case .failure(let failure) = state.change({ $0.end }) { throw failure }
    }

    func check(_ descriptor: Descriptor) throws(LayoutFailure) {
        // Checking must not wait for members that have not arrived.
        guard isComplete else { return }
        _ = try open(descriptor)
    }

    /// Returns the blob's source if the range has the size in the descriptor.
    ///
    /// - Throws: `.wrongSize`.
    func source(_ range: Range<Int64>, _ descriptor: Descriptor) throws(LayoutFailure) -> VerifiedBlob.Source
    {
        guard range.count == descriptor.size else {
            throw .wrongSize(descriptor.digest, expected: descriptor.size, found: Int64(range.count))
        }
        return .member(self, range)
    }

    func finish() throws(LayoutFailure) {
        state.change { $0.isAbandoned = true }
        try? state.wait(cancellation, meanwhile: endIfSilent) { $0.isRead ? () : nil }
        // Other errors in the rest of the archive do not affect what was read.
        if let name = state.change({ state in state.used.first { state.repeated.contains($0) } }) {
            throw repeated(name)
        }
    }
}

extension LayoutFailure {
    /// Converts an error of reading an archive.
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
