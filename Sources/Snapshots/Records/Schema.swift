internal import GRDB

/// The metadata database. `docs/on-disk.md` describes it; a change is a new migration, never an edit of an
/// old one.
enum Schema {
    static var migrator: DatabaseMigrator {
        var migrator = DatabaseMigrator()
        migrator.registerMigration("1") { database in
            try database.execute(
                sql: """
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
                    """)
        }
        migrator.registerMigration("2") { database in
            try database.execute(
                sql: """
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
                    """)
        }
        migrator.registerMigration("3") { database in
            try database.execute(
                sql: """
                    -- Snapshots of images that a service's clients use as well: each needs it by itself.
                    CREATE TABLE claim (
                        service TEXT NOT NULL,
                        snapshot INTEGER NOT NULL REFERENCES snapshot(id) ON DELETE RESTRICT,
                        PRIMARY KEY (service, snapshot)
                    ) WITHOUT ROWID;
                    CREATE INDEX claim_snapshot ON claim(snapshot);
                    """)
        }
        return migrator
    }
}
