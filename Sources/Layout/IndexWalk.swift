internal import OCI

/// The graph of indexes and manifests that `index.json` references. An index may be reached on several paths and is
/// read once.
struct IndexWalk {
    /// Maximum number of indexes and manifests: more than the tags of any registry repository, and few enough that
    /// the walk takes seconds.
    static let mostDocuments = 10_000
    /// Maximum total size of the documents in bytes: the content of indexes is kept in memory.
    static let largestTotal: Int64 = 64 << 20
    /// Maximum number of names of all indexes, including inherited ones.
    static let mostNames = 100_000

    private(set) var candidates = [Candidate]()
    /// Indexes that cannot be read, and manifests that cannot be read and whose platform no index declares.
    private(set) var unreadable = [Candidate]()
    /// The errors of unreadable documents, by digest.
    private(set) var failures = [Digest: LayoutFailure]()
    private let layout: ImageLayout
    /// Nodes of the graph; the first is `index.json`.
    private var nodes = [Node(descriptor: nil)]
    private var numbers = [Digest: Int]()
    /// Platforms from configs; nil for an artifact and for an unreadable document.
    private var platforms = [Digest: Platform?]()
    private var documents = 0
    private var total: Int64 = 0

    private struct Node {
        let descriptor: Descriptor?
        var names = Names()
        /// Nodes of the indexes that this index lists.
        var children = [Int]()
        var images = [(descriptor: Descriptor, platform: Platform)]()
        /// Unreadable manifests of unknown platform.
        var unreadable = [Descriptor]()
    }

    init(of layout: ImageLayout) throws(LayoutFailure) {
        self.layout = layout
        try list(layout.index, as: 0)
        var next = 1
        while next < nodes.count {
            if let descriptor = nodes[next].descriptor {
                switch try read(descriptor, layout.readIndex) {
                case .success(let index): try list(index, as: next)
                case .failure(let failure): failures[descriptor.digest] = failure
                }
            }
            next += 1
        }
        try propagateNames()
        candidates = nodes.enumerated().flatMap { number, node in
            node.images.map {
                Candidate(
                    descriptor: $0.descriptor, platform: $0.platform, inheritedNames: node.names,
                    index: number)
            }
        }
        unreadable = nodes.enumerated().flatMap { number, node in
            let index = node.descriptor.flatMap { failures[$0.digest] == nil ? nil : $0 }
            return (node.unreadable + (index.map { [$0] } ?? [])).map {
                Candidate(
                    descriptor: $0, platform: $0.platform ?? .unspecified, inheritedNames: node.names,
                    index: number,
                    failure: failures[$0.digest])
            }
        }
    }

    /// The nodes of an index and of all indexes below it.
    func nodes(in digest: Digest) -> Set<Int> {
        guard let start = numbers[digest] else { return [] }
        var reached = Set([start])
        var waiting = [start]
        while let node = waiting.popLast() {
            for child in nodes[node].children where reached.insert(child).inserted { waiting.append(child) }
        }
        return reached
    }

    // MARK: The walk

    private mutating func list(_ index: ImageIndex, as number: Int) throws(LayoutFailure) {
        for descriptor in index.manifests where !descriptor.isAttestation {
            guard descriptor.mediaType.isIndex || descriptor.mediaType.isManifest else { continue }
            documents += 1
            if documents > Self.mostDocuments {
                throw Self.limitExceeded("\(Self.mostDocuments) indexes and manifests")
            }
            if descriptor.mediaType.isIndex {
                let child = node(of: descriptor)
                nodes[number].children.append(child)
                nodes[child].names.add(descriptor.referenceNames[...])
            } else if let platform = try platform(of: descriptor) {
                nodes[number].images.append((descriptor, platform))
            } else if failures[descriptor.digest] != nil {
                nodes[number].unreadable.append(descriptor)
            }
        }
    }

    private mutating func node(of descriptor: Descriptor) -> Int {
        if let number = numbers[descriptor.digest] { return number }
        nodes.append(Node(descriptor: descriptor))
        numbers[descriptor.digest] = nodes.count - 1
        return nodes.count - 1
    }

    /// The platform that the index declares, completed from the config. Nil for an artifact and for an unreadable
    /// document.
    private mutating func platform(of descriptor: Descriptor) throws(LayoutFailure) -> Platform? {
        let stated = descriptor.platform ?? .unspecified
        if stated.isComplete { return stated }
        if platforms[descriptor.digest] == nil {
            switch try configPlatform(of: descriptor) {
            case .success(let platform): platforms[descriptor.digest] = .some(platform)
            case .failure(let failure):
                failures[descriptor.digest] = failure
                platforms[descriptor.digest] = .some(nil)
            }
        }
        guard case .some(.some(let platform)) = platforms[descriptor.digest] else { return nil }
        return stated.completed(by: platform)
    }

    private mutating func configPlatform(
        of descriptor: Descriptor
    ) throws(LayoutFailure) -> Result<Platform?, LayoutFailure> {
        let manifest: ImageManifest
        switch try read(descriptor, layout.readManifest) {
        case .success(let found): manifest = found
        case .failure(let failure): return .failure(failure)
        }
        guard manifest.config.mediaType.isConfig else { return .success(nil) }
        return try read(manifest.config, layout.readConfig).map { config in
            // Signatures have an image config without content.
            let isImage = !config.platform.isUnspecified || manifest.layers.allSatisfy(\.mediaType.isLayer)
            return isImage ? config.platform : nil
        }
    }

    private mutating func read<Document>(
        _ descriptor: Descriptor, _ body: (Descriptor) throws(LayoutFailure) -> Document
    ) throws(LayoutFailure) -> Result<Document, LayoutFailure> {
        let result = try layout.attempt(descriptor, body)
        switch result {
        case .success, .failure(.document), .failure(.wrongDigest): total += descriptor.size
        case .failure: break
        }
        if total > Self.largestTotal { throw Self.limitExceeded("\(Self.largestTotal) bytes of documents") }
        return result
    }

    /// Propagates the names of each index to everything below it.
    private mutating func propagateNames() throws(LayoutFailure) {
        var passed = [Int](repeating: 0, count: nodes.count)
        var waiting = Array(nodes.indices.reversed())
        var count = 0
        while let node = waiting.popLast() {
            let fresh = nodes[node].names.list[passed[node]...]
            passed[node] += fresh.count
            count += fresh.count
            if count > Self.mostNames { throw Self.limitExceeded("\(Self.mostNames) names") }
            for child in nodes[node].children where nodes[child].names.add(fresh) { waiting.append(child) }
        }
    }

    private static func limitExceeded(_ what: String) -> LayoutFailure {
        .document(name: "index.json", reason: "it leads to more than \(what), which is the limit")
    }
}

/// A set of names in insertion order.
struct Names: Sendable {
    private(set) var list = [String]()
    private var seen = Set<String>()

    /// - Returns: whether at least one name is new.
    @discardableResult
    mutating func add(_ names: ArraySlice<String>) -> Bool {
        let count = list.count
        for name in names where seen.insert(name).inserted { list.append(name) }
        return list.count > count
    }

    func contains(_ name: String) -> Bool { seen.contains(name) }
}
