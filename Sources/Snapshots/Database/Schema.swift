internal import SQLite

/// The tables and triggers of the metadata database (`docs/on-disk.md`). A change is a new migration, never an edit of
/// an old one.
enum Schema {
    /// The first version.
    private static let first = """
        CREATE TABLE store (
            name TEXT PRIMARY KEY NOT NULL,
            value TEXT NOT NULL
        );
        CREATE TABLE snapshot (
            id INTEGER PRIMARY KEY AUTOINCREMENT,
            snapshotter TEXT NOT NULL,
            name TEXT NOT NULL,
            kind TEXT NOT NULL CHECK (kind IN ('view', 'active', 'committed')),
            parent INTEGER REFERENCES snapshot(id) ON DELETE RESTRICT,
            owner TEXT NOT NULL,
            -- The run that is making it; null once it is finished, or when a user made it.
            run TEXT,
            -- The boot in which it was committed, until it is known to be on the disk.
            boot TEXT,
            -- The chain ID, if this program verified every byte.
            verified_chain TEXT,
            created INTEGER NOT NULL,
            updated INTEGER NOT NULL,
            UNIQUE (snapshotter, name),
            UNIQUE (snapshotter, verified_chain)
        );
        CREATE INDEX snapshot_parent ON snapshot(parent);
        CREATE TABLE label (
            snapshot INTEGER NOT NULL REFERENCES snapshot(id) ON DELETE CASCADE,
            name TEXT NOT NULL,
            value TEXT NOT NULL,
            PRIMARY KEY (snapshot, name)
        ) WITHOUT ROWID;
        CREATE TABLE image (
            id INTEGER PRIMARY KEY,
            snapshotter TEXT NOT NULL,
            manifest TEXT NOT NULL,
            media_type TEXT NOT NULL,
            reference TEXT,
            platform TEXT NOT NULL,
            top INTEGER NOT NULL REFERENCES snapshot(id) ON DELETE RESTRICT,
            created INTEGER NOT NULL,
            UNIQUE (snapshotter, manifest)
        );
        CREATE TABLE image_layer (
            image INTEGER NOT NULL REFERENCES image(id) ON DELETE CASCADE,
            position INTEGER NOT NULL,
            digest TEXT NOT NULL,
            diff_id TEXT NOT NULL,
            chain_id TEXT NOT NULL,
            size INTEGER NOT NULL,
            PRIMARY KEY (image, position)
        ) WITHOUT ROWID;
        """

    /// Usage, digests of records, and pins.
    private static let measures = """
        -- What it takes, measured when it was committed; null if it was by the first version.
        ALTER TABLE snapshot ADD COLUMN size INTEGER;
        ALTER TABLE snapshot ADD COLUMN inodes INTEGER;
        -- The digest of the record of its tree, if there is one.
        ALTER TABLE snapshot ADD COLUMN tree_digest TEXT;
        -- What a running process relies on, beside what it makes.
        CREATE TABLE pin (
            run TEXT NOT NULL,
            snapshot INTEGER NOT NULL REFERENCES snapshot(id) ON DELETE CASCADE,
            PRIMARY KEY (run, snapshot)
        ) WITHOUT ROWID;
        CREATE INDEX pin_snapshot ON pin(snapshot);
        """

    /// Layers that services have adopted.
    private static let adoption = """
        -- Snapshots of images that a service's clients use as well: each needs it by itself.
        CREATE TABLE claim (
            service TEXT NOT NULL,
            snapshot INTEGER NOT NULL REFERENCES snapshot(id) ON DELETE RESTRICT,
            PRIMARY KEY (service, snapshot)
        ) WITHOUT ROWID;
        CREATE INDEX claim_snapshot ON claim(snapshot);
        """

    /// The invariant of the chain of trust (`docs/threat-model.md`): the pipeline has written the snapshot that a
    /// client sees under a chain ID, from bytes whose digests match, and no other process has written to it since. The
    /// contract checks the invariant with failures of its own; these triggers enforce it if a check is missing.
    private static let trust = """
        -- The label of a chain is what the column says, and never stored.
        DELETE FROM label WHERE name = '\(SnapshotLabels.chain)';
        CREATE TRIGGER label_of_chain BEFORE INSERT ON label WHEN NEW.name = '\(SnapshotLabels.chain)'
        BEGIN SELECT RAISE(ABORT, 'the label of a chain is derived'); END;

        -- Only committed snapshots of the unpacker's are verified, under the name of their chain, on verified ones.
        CREATE TRIGGER chain_of_new BEFORE INSERT ON snapshot WHEN NEW.verified_chain IS NOT NULL
        BEGIN SELECT RAISE(ABORT, 'a new snapshot is not verified'); END;
        CREATE TRIGGER chain_of_changed BEFORE UPDATE ON snapshot
        WHEN NEW.verified_chain IS NOT NULL AND NOT (
            NEW.owner = 'images' AND NEW.kind = 'committed' AND NEW.name = NEW.verified_chain
            AND (NEW.parent IS NULL
                OR EXISTS (SELECT 1 FROM snapshot WHERE id = NEW.parent AND verified_chain IS NOT NULL)))
        BEGIN SELECT RAISE(ABORT, 'a verified snapshot is a committed one of images, on a verified parent'); END;

        -- Only what is verified and on the disk is adopted, under a name that the service does not use, and which it cannot use
        -- afterwards.
        DELETE FROM claim WHERE EXISTS (
            SELECT 1 FROM snapshot AS adopted JOIN snapshot AS own ON own.snapshotter = adopted.snapshotter
            WHERE adopted.id = claim.snapshot AND own.name = claim.service || ':' || adopted.name);
        CREATE TRIGGER claim_of_verified BEFORE INSERT ON claim
        WHEN NOT EXISTS (
            SELECT 1 FROM snapshot WHERE id = NEW.snapshot AND verified_chain IS NOT NULL AND boot IS NULL)
        BEGIN SELECT RAISE(ABORT, 'only a verified snapshot on the disk is adopted'); END;
        CREATE TRIGGER claim_of_free_name BEFORE INSERT ON claim
        WHEN EXISTS (
            SELECT 1 FROM snapshot AS adopted JOIN snapshot AS own ON own.snapshotter = adopted.snapshotter
            WHERE adopted.id = NEW.snapshot AND own.name = NEW.service || ':' || adopted.name)
        BEGIN SELECT RAISE(ABORT, 'the service uses the name of the adopted snapshot'); END;
        CREATE TRIGGER name_of_new BEFORE INSERT ON snapshot WHEN \(isAdopted("NEW.name", "NEW.snapshotter"))
        BEGIN SELECT RAISE(ABORT, 'the name belongs to an adopted snapshot'); END;
        CREATE TRIGGER name_of_changed BEFORE UPDATE OF name ON snapshot
        WHEN \(isAdopted("NEW.name", "NEW.snapshotter"))
        BEGIN SELECT RAISE(ABORT, 'the name belongs to an adopted snapshot'); END;
        """

    /// An SQL expression: whether a name `SERVICE:NAME` would hide a snapshot that the service has adopted.
    static func isAdopted(_ name: String, _ snapshotter: String) -> String {
        """
        EXISTS (SELECT 1 FROM snapshot AS adopted JOIN claim ON claim.snapshot = adopted.id
            WHERE adopted.snapshotter = \(snapshotter)
            AND adopted.name = substr(\(name), instr(\(name), ':') + 1)
            AND claim.service = substr(\(name), 1, instr(\(name), ':') - 1))
        """
    }

    /// A snapshot that the store stopped trusting: its rows keep a name that is free of its chain, and only the column
    /// has the meaning. Earlier versions recognized it by its name.
    private static let distrust = """
        ALTER TABLE snapshot ADD COLUMN distrusted INTEGER NOT NULL DEFAULT 0 CHECK (distrusted IN (0, 1));
        UPDATE snapshot SET distrusted = 1
        WHERE kind = 'committed' AND verified_chain IS NULL AND name LIKE 'distrusted/' || id || '/%';
        CREATE TRIGGER distrust_is_final BEFORE UPDATE ON snapshot
        WHEN (OLD.distrusted AND NOT NEW.distrusted) OR (NEW.distrusted AND NEW.verified_chain IS NOT NULL)
        BEGIN SELECT RAISE(ABORT, 'a distrusted snapshot stays distrusted, and holds no chain'); END;
        """

    private static let verity = """
        -- The digest of fs-verity, if it protects the image of the snapshot.
        ALTER TABLE snapshot ADD COLUMN verity_digest TEXT;
        """

    private static let names = """
        -- All names under which an image was unpacked.
        CREATE TABLE image_name (
            image INTEGER NOT NULL REFERENCES image(id) ON DELETE CASCADE,
            name TEXT NOT NULL,
            PRIMARY KEY (image, name)
        ) WITHOUT ROWID;
        INSERT INTO image_name SELECT id, reference FROM image WHERE reference IS NOT NULL;
        ALTER TABLE image DROP COLUMN reference;
        -- The image's documents, byte for byte; null if an earlier version has recorded the image.
        ALTER TABLE image ADD COLUMN manifest_document TEXT;
        ALTER TABLE image ADD COLUMN config_document TEXT;
        -- When it was last unpacked or mounted, to the minute.
        ALTER TABLE image ADD COLUMN used INTEGER NOT NULL DEFAULT 0;
        UPDATE image SET used = created;
        """

    /// Whether the directory of a snapshot, given by snapshotter and ID, has inherited from where the store is located.
    typealias Inheritance = @Sendable (String, Int64) -> Bool

    static func migrations(_ hasInheritedSettings: @escaping Inheritance) -> SQLMigrations {
        SQLMigrations([
            .init("1") { try $0.executeAll(first) },
            .init("2") { try $0.executeAll(measures) },
            .init("3") { try $0.executeAll(adoption) },
            .init("4") { try $0.executeAll(trust) },
            .init("5") { connection in
                // In earlier versions snapshots inherited a group, an ACL, a project or flags, so that their trees
                // differ from their layers. With the name of another boot they are distrusted by the next run, which
                // removes them if nothing needs them.
                let verified = try connection.rows(
                    "SELECT id, snapshotter FROM snapshot WHERE verified_chain IS NOT NULL"
                ) { (id: try $0.integer("id"), snapshotter: try $0.text("snapshotter")) }
                for (id, snapshotter) in verified where hasInheritedSettings(snapshotter, id) {
                    try connection.execute("UPDATE snapshot SET boot = 'inherited' WHERE id = ?", id)
                }
            },
            .init("6") { try $0.executeAll(distrust) },
            .init("7") { try $0.executeAll(verity) },
            .init("8") { try $0.executeAll(names) },
        ])
    }
}
