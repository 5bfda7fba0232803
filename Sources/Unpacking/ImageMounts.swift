internal import Kernel
internal import Layers
internal import Mounts
internal import OCI
package import Snapshots
internal import Streams

/// Describes how an image in the store is mounted: read-only, or with an active snapshot on top of it.
package struct ImageMounts {
    private let store: SnapshotStore
    private let writableKey: String?
    private let bundle: BundleDirectory?
    private let check: () throws(UnpackError) -> Void

    /// - Parameters:
    ///   - writableKey: the key of an active snapshot, which is made if it is missing; nil for a read-only mount.
    ///   - bundle: that an active snapshot belongs to, if it is made; nil for none.
    ///   - check: throws to end a wait for another process.
    package init(
        store: SnapshotStore, writableKey: String?, bundle: BundleDirectory?,
        check: @escaping () throws(UnpackError) -> Void
    ) {
        self.store = store
        self.writableKey = writableKey
        self.bundle = bundle
        self.check = check
    }

    /// Describes an image that was recorded before.
    ///
    /// - Throws: `.notFound` if it was removed meanwhile, `.unavailable` if an earlier version has recorded it.
    package func result(of record: ImageRecord) throws(UnpackError) -> UnpackResult {
        try Self.check(key: writableKey)
        try requireRoot()
        let image = try Image(record, in: store)
        let result = try result(
            of: image, named: record.names.first, platform: record.platform, cached: image.chains,
            warnings: [])
        guard let result else { throw UnpackError.imageWasRemoved }
        store.noteUse(of: record.manifest)
        return result
    }

    /// - Returns: nil if a layer is missing from the store, or was removed meanwhile.
    func result(
        of image: Image, named name: String?, platform: Platform, cached: Set<ChainID>, warnings: [String]
    ) throws(UnpackError) -> UnpackResult? {
        var layers = [(step: LayerStep, snapshot: SnapshotInfo)]()
        for step in image.steps {
            guard let snapshot = try attempt({ try store.verified(step.chainID) }) else { return nil }
            layers.append((step, snapshot))
        }
        guard let top = layers.last?.snapshot.name else { return nil }
        let mounts: [Mount]
        do throws(UnpackError) {
            mounts =
                if let writableKey {
                    try writableMounts(writableKey, on: top)
                } else {
                    try attempt { try store.readOnlyMounts(of: top) }
                }
        } catch {
            if error.code == .notFound { return nil }
            throw error
        }
        return UnpackResult(
            image: image, reference: name, platform: platform, chainID: try image.topChain(), mounts: mounts,
            layers: layers.map { step, snapshot in
                UnpackResult.Layer(
                    step: step, path: store.path(of: snapshot), isCached: cached.contains(step.chainID))
            }, warnings: warnings)
    }

    /// The mounts of the user's active snapshot on the image, which is created if it is missing. Waits while another
    /// process creates it.
    private func writableMounts(_ key: String, on parent: String) throws(UnpackError) -> [Mount] {
        while true {
            if let mounts = try finishedMounts(key, on: parent) { return mounts }
            try check()
            Process.sleep(milliseconds: 50)
            // If the process that was creating it has ended, this removes the unfinished snapshot.
            _ = try attempt { try store.startRun() }
        }
    }

    /// - Returns: nil while another process creates the snapshot.
    private func finishedMounts(_ key: String, on parent: String) throws(UnpackError) -> [Mount]? {
        guard let found = try attempt({ try store.find(key) }) else {
            do throws(StoreFailure) {
                return try store.prepare(
                    key, parent: parent, labels: bundle?.labels ?? [:], in: try store.startRun())
            } catch {
                if error.kind == .alreadyExists { return nil }
                throw UnpackError(error)
            }
        }
        guard found.kind == .active, found.parent == parent else {
            throw UnpackError(
                .usage,
                "the snapshot '\(key)' is \(found.kind.rawValue) on \(found.parent ?? "nothing"), not active on \(parent)",
                hint:
                    "choose another one with --rw KEY, or remove it: unpack snapshot rm \(ShellWord(quoting: key, orElse: "KEY").text)"
            )
        }
        do throws(StoreFailure) {
            return try store.mounts(of: key)
        } catch {
            if error.kind == .unavailable { return nil }
            throw UnpackError(error)
        }
    }

    /// Checks a key of the user, which appears in mount lines, and must differ from options, chain IDs and the keys of
    /// the unpacker (`unpack/…`).
    static func check(key: String?) throws(UnpackError) {
        guard let key else { return }
        guard MountLine.isPlainValue(key), !key.hasPrefix("-"), !key.contains("/"),
            (try? Digest(parsing: key)) == nil
        else {
            throw UnpackError(
                .usage, "'\(escaped(key.utf8))' is not a valid key of a snapshot",
                hint: "use letters, digits and . _ - + @")
        }
    }
}

/// - Throws: `.permission` for an ordinary user.
func requireRoot() throws(UnpackError) {
    guard Process.effectiveUserID == 0 else {
        throw UnpackError(
            .permission, "unpacking sets owners and makes devices, which needs root", hint: "run it with sudo"
        )
    }
}

extension UnpackError {
    static var imageWasRemoved: UnpackError {
        UnpackError(
            .notFound, "the image was removed from the store meanwhile",
            hint: "unpack it again from its layout")
    }
}

extension Image {
    var chains: Set<ChainID> { Set(steps.map(\.chainID)) }

    /// Reads a recorded image from the documents in the store.
    ///
    /// - Throws: `.unavailable` if an earlier version has recorded it without them, `.io` if they do not match the
    ///   record.
    package init(_ record: ImageRecord, in store: SnapshotStore) throws(UnpackError) {
        guard let documents = try attempt({ try store.documents(of: record.manifest) }) else {
            throw UnpackError(
                .unavailable, "an earlier version has unpacked \(record.manifest), without its documents",
                hint: "unpack it again from its layout")
        }
        let (manifest, config) = (Array(documents.manifest.utf8), Array(documents.config.utf8))
        do {
            let parsed = try ImageManifest(parsing: manifest)
            guard Self.matches(manifest, record.manifest), Self.matches(config, parsed.config.digest) else {
                throw DocumentError("their digests differ")
            }
            let parsedConfig = try ImageConfig(parsing: config)
            self.init(
                descriptor: Descriptor(
                    mediaType: record.mediaType, digest: record.manifest, size: Int64(manifest.count)),
                manifest: parsed, config: parsedConfig,
                documents: Documents(manifest: manifest, config: config),
                steps: try LayerStep.plan(parsed, parsedConfig))
        } catch {
            throw UnpackError(
                .io,
                "the store's database: the documents of the image \(record.manifest) are damaged: \(error)",
                hint: "remove the image with 'unpack rm', and unpack it again")
        }
    }

    private static func matches(_ document: [UInt8], _ digest: Digest) -> Bool {
        var digester = Digester(digest.algorithm)
        digester.update(document)
        return digester.finish() == digest
    }
}
