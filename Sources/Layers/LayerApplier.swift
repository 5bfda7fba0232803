internal import Archive
internal import Kernel
internal import Streams

/// Thrown where it turns out that a layer was begun on a wrong idea of the layers below.
struct Misread: Error {}

/// Applies the entries of one layer to one directory, in the archive's order, so that the merged tree depends
/// on the layers alone. `docs/spec-notes.md` has the rules.
///
/// Directories stay 0700 and owned by us until `finish`: nothing below one can inherit a group, a setgid bit
/// or a default ACL from it, and its times are not touched any more.
struct LayerApplier: LayerVisitor {
    var tree: LayerTree
    let form: WhiteoutForm
    let marks: OverlayMarks
    let account: Budget.Account
    let cancellation: Cancellation
    var writer = MetadataWriter()
    /// Nil if nobody wants them.
    var digests: ContentDigests?
    private(set) var entries = 0

    /// Of the root, where neither an entry nor a layer below says what it has.
    let plainRoot: Metadata

    /// The layers below; nil while they are not needed and not known.
    private(set) var lower: LowerView?
    /// Where they come from; a value of nil says that they never will.
    private let below: Promise<LowerView?>
    /// Directories that are remembered now, and bytes of their extended attributes.
    var nodes = 0
    var attributes: Int64 = 0
    /// When there are more of them, those are settled that can be.
    var settlingPoint: Int
    /// How many more there may be until the next time.
    let settlingInterval: Int
    /// Whether there may be directories on the disk that are not remembered.
    var hasSettled = false

    /// Whether a whiteout stands in any directory.
    var holdsWhiteouts = false

    /// The parent of the entry before: archives are sorted by directory.
    var last: PathWalk?

    /// Lower files that hard links have brought up.
    var broughtUp = [FileStatus.Identity: BroughtUp]()
    /// Where they are kept until the end, when it is known under which of their names they show.
    var aside: Directory?

    /// Lower symlinks that entries went through, by their paths in the merged tree.
    var followed = Set<[FileName]>()
    /// Those of them that this layer turned out to hide or to replace by a directory, so that the entries belong
    /// elsewhere.
    private(set) var misread = Set<[FileName]>()
    /// The first refusal, final unless something was misread.
    private var refusal: LayerFailure?
    /// What earlier passes over the layer found to be misread.
    let known: Set<[FileName]>
    private(set) var accounts: AccountNumbers

    var warnings: [LayerWarning] { writer.warnings.values.sorted { $0.kind.rawValue < $1.kind.rawValue } }

    /// - Parameters:
    ///   - known: the `misread` of the passes before this one.
    ///   - accounts: what `readAccounts` has read in one of them.
    init(
        directory: Directory, below: Promise<LowerView?>, form: WhiteoutForm, marks: OverlayMarks,
        account: Budget.Account, cancellation: Cancellation = Cancellation(), plainRoot: Metadata,
        known: Set<[FileName]> = [],
        accounts: ImageAccounts? = nil, digests: ContentDigests? = nil, settlingInterval: Int
    ) {
        tree = LayerTree(directory)
        self.form = form
        self.marks = marks
        self.account = account
        self.cancellation = cancellation
        self.below = below
        lower = below.value ?? nil
        self.plainRoot = plainRoot
        self.known = known
        self.accounts = AccountNumbers(accounts)
        self.digests = digests
        self.settlingInterval = settlingInterval
        settlingPoint = settlingInterval
    }

    /// Applies one entry; its data comes from the reader.
    ///
    /// - Throws: `Misread`, `LayerFailure` and whatever the work on it throws.
    mutating func take(_ entry: Entry, from reader: inout LayerReader) throws {
        entries += 1
        try account.addEntry()
        if lower == nil, account.isCrowded { _ = try openLower() }
        if weight > settlingPoint { try settle() }
        do {
            try apply(try accounts.number(entry), from: &reader)
        } catch let failure as LayerFailure {
            guard case .refused = failure.cause else { throw failure }
            try postpone(failure.placed(at: entry))
        }
    }

    /// What is refused may be in order when all of the layer is known: where an entry went through a lower symlink that
    /// the layer hides later, it went elsewhere than it should.
    private mutating func postpone(_ failure: LayerFailure) throws {
        if lower == nil { _ = try openLower() }
        if followed.isEmpty { throw failure }
        refusal = refusal ?? failure
    }

    /// Says that all entries have been applied.
    mutating func endEntries() throws {
        misread.formUnion(tree.root.hidden(of: followed))
        if misread.isEmpty, let refusal { throw refusal }
    }

    private mutating func apply(_ entry: Entry, from reader: inout LayerReader) throws {
        let whiteout = try Whiteout(entry)
        guard let name = entry.path.name else {
            guard entry.content == .directory else {
                throw LayerFailure(refusing: entry.path, "the root of a layer can only be a directory")
            }
            try describe(tree.root, entry.metadata)
            return
        }
        switch whiteout {
        case .none: break
        case .bookkeeping: return
        case .kept: tree.keepsAside = true
        case .opaque:
            let parent = try resolve(entry.path)
            parent.isOpaque = true
            return
        case .hide(let hidden):
            let parent = try resolve(entry.path)
            if parent.whiteouts.insert(hidden).inserted { try account.remember(Self.cost(of: hidden)) }
            return
        }
        let parent = try resolve(entry.path)
        let directory = try tree.open(parent)
        if case .directory = entry.content {
            if !followed.isEmpty, followed.contains(parent.path + [name]) {
                misread.insert(parent.path + [name])
            }
            try applyDirectory(name, in: parent, directory, entry.metadata)
            return
        }
        // It may stand in the place of a lower symlink that the parent was resolved through.
        if !followed.isEmpty { last = nil }
        if case .hardLink(let target) = entry.content {
            try applyLink(name, in: parent, directory, target: target, entry)
        } else {
            try removeDirectory(name, in: parent, directory)
            try create(name, in: directory, entry, from: &reader)
        }
    }

    /// Polls for cancellation, and counts what was done since the last time.
    mutating func poll() throws {
        try cancellation.check()
        try account.step(1 + tree.takeSteps())
    }

    var isWanted: () -> Bool { { [cancellation] in !cancellation.isCancelled } }

    // MARK: The layers below

    /// The layers below, waited for if they are not there yet.
    ///
    /// - Throws: `Misread` if entries so far went where those layers have a symlink, `Cancelled` if they
    ///   will never be there.
    mutating func openLower() throws -> LowerView {
        if let lower { return lower }
        guard let view = below.wait() else { throw Cancelled(.failure) }
        lower = view
        guard try assumptionsHold(over: view) else { throw Misread() }
        return view
    }

    /// Whether what no entry lists is no symlink of the layers below, so that it would have been gone through.
    private mutating func assumptionsHold(over view: LowerView) throws -> Bool {
        var walk = NodeWalk(tree.root, over: view.root)
        while let step = try walk.next() {
            try poll()
            guard case .enter(let node, let below) = step else { continue }
            guard let below else {
                walk.skip()
                continue
            }
            for (name, child) in node.children where child.metadata == nil && !node.hides(name) {
                if try below.lookUp(name).isSymlink { return false }
            }
        }
        return true
    }

    // MARK: Creating

    private mutating func applyDirectory(
        _ name: FileName, in parent: DirectoryNode, _ directory: Directory, _ metadata: Metadata
    ) throws {
        let node = try child(name, of: parent)
        try describe(node, metadata)
        if node.exists { return }
        try replacing(name, in: directory) { try directory.makeDirectory(name, mode: 0o700) }
        node.exists = true
    }

    /// Makes room for a file where this layer has a directory.
    mutating func removeDirectory(
        _ name: FileName, in parent: DirectoryNode, _ directory: Directory
    ) throws {
        guard let node = try ownDirectory(name, in: parent) else { return }
        last = nil
        let isThere = node.exists
        if try clear(node) { parent.children[name] = nil }
        if isThere { try directory.removeTree(name, isWanted: isWanted) }
    }

    /// Forgets what a directory of this layer was, but not what it hides: that acts on the layers below whatever comes
    /// of the directory. While those are not known, it also stays known that it was taken for none of their symlinks.
    ///
    /// - Returns: whether nothing of it has to be remembered.
    private mutating func clear(_ node: DirectoryNode) throws -> Bool {
        var all = [node]
        var index = 0
        while index < all.count {
            all += all[index].children.values
            index += 1
        }
        try account.step(Int64(all.count))
        var isIdle = false
        // Those below come first.
        for current in all.reversed() {
            current.exists = false
            try describe(current, nil)
            tree.close(current)
            isIdle =
                lower != nil && current.children.isEmpty && !current.isOpaque && current.whiteouts.isEmpty
            guard isIdle else { continue }
            try forget(current)
            if current !== node, let name = current.name { current.parent?.children[name] = nil }
        }
        return isIdle
    }

    /// Runs `make`, and once more without the file that stood in its way.
    mutating func replacing(
        _ name: FileName, in directory: Directory, _ make: () throws -> Void
    ) throws {
        do {
            try make()
        } catch let failure as SyscallFailure where failure.isTaken {
            // It may be a symlink that the parent was resolved through.
            last = nil
            try directory.removeFile(name)
            try make()
        }
    }

    private mutating func create(
        _ name: FileName, in directory: Directory, _ entry: Entry, from reader: inout LayerReader
    ) throws {
        let metadata = entry.metadata
        let plainMode = metadata.mode & 0o777
        let path = entry.path
        switch entry.content {
        case .regular(let size):
            try createFile(name, in: directory, size: size, metadata, path, from: &reader)
        case .symlink(let target):
            try replacing(name, in: directory) { try directory.makeSymlink(name, target: target) }
            try writer.finishSpecial(name, in: directory, metadata, isSymlink: true, entry: path)
        case .fifo:
            try replacing(name, in: directory) { try directory.makeNode(name, .fifo, mode: plainMode) }
            try writer.finishSpecial(name, in: directory, metadata, isSymlink: false, entry: path)
        case .character(DeviceNumber(major: 0, minor: 0)):
            writer.warn(.overlayControl, entry: path, "character device 0:0")
            if try directory.status(of: name) != nil {
                last = nil
                try directory.removeFile(name)
            }
        case .character, .block:
            guard Privileges.current.isInitialNamespace else {
                writer.warn(.lostDevice, entry: path, "the device")
                return try createFile(name, in: directory, size: 0, metadata, path, from: &reader)
            }
            try replacing(name, in: directory) {
                if case .character(let device) = entry.content {
                    try directory.makeNode(name, .character(device), mode: plainMode)
                } else if case .block(let device) = entry.content {
                    try directory.makeNode(name, .block(device), mode: plainMode)
                }
            }
            try writer.finishSpecial(name, in: directory, metadata, isSymlink: false, entry: path)
        case .directory, .hardLink:
            throw LayerFailure(
                refusing: entry.path, "internal error: not a kind of file that is created here")
        }
    }

    private mutating func createFile(
        _ name: FileName, in directory: Directory, size: Int64, _ metadata: Metadata, _ path: EntryPath,
        from reader: inout LayerReader
    ) throws {
        var file = try directory.createFile(name, mode: metadata.mode & 0o777)
        if file == nil {
            last = nil
            try directory.removeFile(name)
            file = try directory.createFile(name, mode: metadata.mode & 0o777)
        }
        guard let file else { throw SyscallFailure("openat", path: "\(path)", code: 17) }
        try fill(file, size: size, metadata, path, from: &reader)
    }

    private mutating func fill(
        _ file: consuming File, size: Int64, _ metadata: Metadata, _ path: EntryPath,
        from reader: inout LayerReader
    ) throws {
        var written: Int64 = 0
        var digester = digests.map { _ in ContentDigester() }
        let target = file
        let account = account
        while try reader.nextData({ (offset: Int64, bytes: RawSpan) throws in
            digester?.update(bytes, at: offset)
            let count = try target.writeSparsely(bytes, at: offset)
            written += count
            try account.write(count)
        }) {}
        if written < size { try target.truncate(to: size) }
        if let digest = digester?.finish(size: size) { try digests?.add(digest, of: target, account) }
        try writer.finishFile(target, metadata, entry: path)
        try target.close()
    }
}
