internal import OCI
internal import SQLite

extension StoreTransaction {
    /// The images of the snapshotter, oldest first.
    func images() throws -> [ImageRecord] {
        let layers = try layersOfImages()
        let names = try namesOfImages()
        return try connection.rows(
            """
            SELECT image.id, manifest, media_type, platform, image.created, used, snapshot.verified_chain
            FROM image JOIN snapshot ON snapshot.id = image.top
            WHERE image.snapshotter = ? ORDER BY image.id
            """, scope.snapshotter
        ) { row in
            let id = try row.integer("id")
            return ImageRecord(
                names: names[id] ?? [], manifest: try Digest(parsing: row.text("manifest")),
                mediaType: MediaType(rawValue: try row.text("media_type")),
                platform: try Platform(parsing: row.text("platform")),
                topChain: ChainID(try Digest(parsing: row.text("verified_chain"))), layers: layers[id] ?? [],
                created: try row.integer("created"), used: try row.integer("used"))
        }
    }

    /// The layers of each image by the image's ID, lowest first.
    private func layersOfImages() throws -> [Int64: [ImageRecord.Layer]] {
        let layers = try connection.rows(
            """
            SELECT image_layer.* FROM image_layer JOIN image ON image.id = image_layer.image
            WHERE image.snapshotter = ? ORDER BY image_layer.image, position
            """, scope.snapshotter
        ) { row in
            (
                image: try row.integer("image"),
                layer: ImageRecord.Layer(
                    digest: try Digest(parsing: row.text("digest")),
                    diffID: DiffID(try Digest(parsing: row.text("diff_id"))),
                    chainID: ChainID(try Digest(parsing: row.text("chain_id"))),
                    size: try row.integer("size"))
            )
        }
        return Dictionary(grouping: layers, by: \.image).mapValues { $0.map(\.layer) }
    }

    /// The names of each image by the image's ID, sorted by bytes.
    private func namesOfImages() throws -> [Int64: [String]] {
        let names = try connection.rows(
            """
            SELECT image_name.* FROM image_name JOIN image ON image.id = image_name.image
            WHERE image.snapshotter = ? ORDER BY image_name.name
            """, scope.snapshotter
        ) { (image: try $0.integer("image"), name: try $0.text("name")) }
        return Dictionary(grouping: names, by: \.image).mapValues { $0.map(\.name) }
    }

    /// The documents of an image; nil if it is not recorded, or if an earlier version has recorded it without them.
    func documents(of manifest: Digest) throws -> ImageRecord.Documents? {
        try connection.rows(
            """
            SELECT manifest_document, config_document FROM image WHERE snapshotter = ? AND manifest = ?
            AND manifest_document IS NOT NULL AND config_document IS NOT NULL
            """, scope.snapshotter, manifest.description
        ) { row in
            ImageRecord.Documents(
                manifest: try row.text("manifest_document"), config: try row.text("config_document"))
        }.first
    }

    /// Records an image on the snapshot that holds its top chain, in place of an earlier record of its manifest.
    ///
    /// - Returns: false if no snapshot holds that chain.
    func insert(
        _ image: ImageRecord, _ documents: ImageRecord.Documents?, created: SnapshotInfo.Date
    ) throws -> Bool {
        try connection.execute(
            "DELETE FROM image WHERE snapshotter = ? AND manifest = ?", scope.snapshotter,
            image.manifest.description)
        let count = try connection.execute(
            """
            INSERT INTO image (
                snapshotter, manifest, media_type, platform, top, created, used, manifest_document, config_document)
            SELECT ?, ?, ?, ?, id, ?, ?, ?, ? FROM snapshot WHERE snapshotter = ? AND verified_chain = ?
            """, scope.snapshotter, image.manifest.description, image.mediaType.rawValue,
            image.platform.description, image.created ?? created, created, documents?.manifest,
            documents?.config, scope.snapshotter, image.topChain.description)
        guard count == 1 else { return false }
        for (position, layer) in image.layers.enumerated() {
            try connection.execute(
                """
                INSERT INTO image_layer SELECT id, ?, ?, ?, ?, ? FROM image WHERE snapshotter = ? AND manifest = ?
                """, Int64(position), layer.digest.description, layer.diffID.description,
                layer.chainID.description, layer.size, scope.snapshotter, image.manifest.description)
        }
        for name in image.names {
            try connection.execute(
                "INSERT INTO image_name SELECT id, ? FROM image WHERE snapshotter = ? AND manifest = ?", name,
                scope.snapshotter, image.manifest.description)
        }
        return true
    }

    func setUsed(_ date: SnapshotInfo.Date, of manifest: Digest) throws {
        try connection.execute(
            "UPDATE image SET used = ? WHERE snapshotter = ? AND manifest = ?", date, scope.snapshotter,
            manifest.description)
    }

    /// Removes a name of an image.
    ///
    /// - Returns: whether the image had it.
    func deleteName(_ name: String, of manifest: Digest) throws -> Bool {
        try connection.execute(
            """
            DELETE FROM image_name WHERE name = ?
            AND image IN (SELECT id FROM image WHERE snapshotter = ? AND manifest = ?)
            """, name, scope.snapshotter, manifest.description) > 0
    }

    /// Removes the record of an image.
    ///
    /// - Returns: its top snapshot; nil if no image with this manifest is recorded.
    func deleteImage(_ manifest: Digest) throws -> Int64? {
        let top = try connection.rows(
            "SELECT top FROM image WHERE snapshotter = ? AND manifest = ?", scope.snapshotter,
            manifest.description
        ) { try $0.integer("top") }.first
        try connection.execute(
            "DELETE FROM image WHERE snapshotter = ? AND manifest = ?", scope.snapshotter,
            manifest.description)
        return top
    }
}
