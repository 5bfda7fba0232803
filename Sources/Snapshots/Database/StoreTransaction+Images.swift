internal import OCI
internal import SQLite

extension StoreTransaction {
    /// The images of the snapshotter, oldest first.
    func images() throws -> [ImageRecord] {
        let layers = try layersOfImages()
        return try connection.rows(
            """
            SELECT image.*, snapshot.verified_chain FROM image JOIN snapshot ON snapshot.id = image.top
            WHERE image.snapshotter = ? ORDER BY image.id
            """, scope.snapshotter
        ) { row in
            ImageRecord(
                reference: row.optionalText("reference"), manifest: try Digest(parsing: row.text("manifest")),
                mediaType: MediaType(rawValue: try row.text("media_type")),
                platform: try Platform(parsing: row.text("platform")),
                topChain: ChainID(try Digest(parsing: row.text("verified_chain"))),
                layers: layers[try row.integer("id")] ?? [])
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

    /// Records an image on the snapshot that holds its top chain, in place of an earlier record of its manifest.
    ///
    /// - Returns: false if no snapshot holds that chain.
    func insert(_ image: ImageRecord, created: SnapshotInfo.Date) throws -> Bool {
        try connection.execute(
            "DELETE FROM image WHERE snapshotter = ? AND manifest = ?", scope.snapshotter,
            image.manifest.description)
        let count = try connection.execute(
            """
            INSERT INTO image (snapshotter, manifest, media_type, reference, platform, top, created)
            SELECT ?, ?, ?, ?, ?, id, ? FROM snapshot WHERE snapshotter = ? AND verified_chain = ?
            """, scope.snapshotter, image.manifest.description, image.mediaType.rawValue, image.reference,
            image.platform.description, created, scope.snapshotter, image.topChain.description)
        guard count == 1 else { return false }
        for (position, layer) in image.layers.enumerated() {
            try connection.execute(
                """
                INSERT INTO image_layer SELECT id, ?, ?, ?, ?, ? FROM image WHERE snapshotter = ? AND manifest = ?
                """, Int64(position), layer.digest.description, layer.diffID.description,
                layer.chainID.description, layer.size, scope.snapshotter, image.manifest.description)
        }
        return true
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
