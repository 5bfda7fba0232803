import Foundation
import Kernel
import SystemPackage
import TestSupport

/// The content of a store, read without the program.
struct StoreState {
    struct Row: Hashable {
        let id: Int
        let name: String
        let kind: String
        let parent: Int?
        let owner: String
        let run: String?
        let boot: String?
        let chain: String?
    }

    let rows: [Int: Row]
    /// By manifest: the chain IDs of the image's layers, lowest first.
    let images: [String: [String]]
    /// By manifest: the ID of the top snapshot.
    let tops: [String: Int]
    let pins: Int
    /// Names in the snapshotter's directory.
    let directories: Set<String>
    let runs: [String]
    private let store: CrashStore
    let boot: String?

    init(of store: CrashStore) throws {
        self.store = store
        boot = store.boot?.id ?? OtherBoot.machines
        let own = "snapshotter = '\(store.snapshotter)'"
        let values = try store.rows(
            """
            SELECT 'row', id, name, kind, parent, owner, run, boot, verified_chain FROM snapshot WHERE \(own);
            SELECT 'image', image.manifest, top, chain_id FROM image LEFT JOIN image_layer ON image = image.id
            WHERE \(own) ORDER BY image.id, position;
            SELECT 'pin', run FROM pin;
            """)
        var rows = [Int: Row]()
        var images = [String: [String]]()
        var tops = [String: Int]()
        var pins = 0
        func some(_ text: String) -> String? { text.isEmpty ? nil : text }
        for value in values {
            switch value[0] {
            case "row":
                guard let id = Int(value[1]) else { continue }
                rows[id] = Row(
                    id: id, name: value[2], kind: value[3], parent: Int(value[4]), owner: value[5],
                    run: some(value[6]), boot: some(value[7]), chain: some(value[8]))
            case "image":
                tops[value[1]] = Int(value[2])
                images[value[1], default: []].append(value[3])
            default: pins += 1
            }
        }
        (self.rows, self.images, self.tops, self.pins) = (rows, images, tops, pins)
        directories = Set(store.names(in: store.snapshotter))
        runs = store.names(in: "runs")
    }

    /// Whether the program trusts the row as a verified layer in this boot.
    func isTrusted(_ row: Row) -> Bool { row.chain != nil && (row.boot == nil || row.boot == boot) }

    /// A dump of a snapshot's directory in the store.
    func tree(_ row: Row) throws -> String {
        let path = store.root.appending(store.snapshotter).appending("\(row.id)")
        if FileManager.default.fileExists(atPath: path.appending("image").string) {
            let disk = try LoopFileSystem(type: "ext4", cutFrom: path.appending("image"))
            return try TreeDump(of: try Directory(opening: disk.path)).text
        }
        if row.kind == "committed", store.snapshotter == "erofs" {
            let mount = try DetachedMount.erofs(path.appending("layer.erofs"))
            return try withExtendedLifetime(mount) { try TreeDump(of: mount.root, showsMarks: true).text }
        }
        // A view with a parent has no files of its own.
        if row.kind == "view", row.parent != nil { return "" }
        return try TreeDump(of: try Directory(opening: path.appending("fs")), showsMarks: true).text
    }

    /// The rows and images without values that differ between runs, as IDs.
    func summary() -> [String] {
        rows.values.map { row in
            let parent = row.parent.flatMap { rows[$0]?.name } ?? "-"
            return "\(row.name) \(row.kind) on \(parent) of \(row.owner) is \(row.chain ?? "-")"
        }.sorted() + images.map { "image \($0.key) \($0.value)" }.sorted()
    }
}

/// The expected trees of snapshots: of layers by chain ID, of users' snapshots by name.
struct Reference {
    var chains: [String: String] = [:]
    var parents: [String: String] = [:]
    var users: [String: String] = [:]
    /// By chain ID: the damaged tree that is allowed until the repair; nil if the directory is missing.
    private(set) var damage: [String: String?] = [:]

    /// The same without allowed damage.
    var mended: Reference {
        var copy = self
        copy.damage = [:]
        return copy
    }

    /// Records the damaged trees of a store.
    mutating func learnDamage(of state: StoreState) throws {
        for row in state.rows.values {
            guard let chain = row.chain, let wanted = chains[chain] else { continue }
            let isThere = state.directories.contains("\(row.id)")
            let tree = isThere ? try state.tree(row) : nil
            if tree != wanted { damage.updateValue(tree, forKey: chain) }
        }
    }

    /// Records all trees of an undisturbed store.
    mutating func learn(_ state: StoreState) throws {
        for row in state.rows.values {
            let tree = try state.tree(row)
            if let chain = row.chain {
                chains[chain] = tree
                parents[chain] = row.parent.flatMap { state.rows[$0]?.chain }
            } else {
                users[row.name] = tree
            }
        }
    }
}

extension StoreState {
    /// Checks the invariants that hold at every moment.
    ///
    /// - Returns: violations.
    func violations(_ reference: Reference) -> [String] {
        var found = [String]()
        for row in rows.values where row.run == nil {
            guard directories.contains("\(row.id)") else {
                if isTrusted(row) || row.owner == "user", !row.isMissing(in: reference) {
                    found.append("\(row.name) has no directory")
                }
                continue
            }
            let wanted: String?
            if isTrusted(row), let chain = row.chain {
                wanted = reference.chains[chain]
                if wanted == nil { found.append("\(chain) is no chain of these images") }
                if row.parent.flatMap({ rows[$0]?.chain }) != reference.parents[chain] {
                    found.append("\(row.name) has another parent")
                }
            } else {
                wanted = row.owner == "user" ? reference.users[row.name] : nil
            }
            guard let wanted else { continue }
            do {
                let tree = try tree(row)
                if tree != wanted, row.chain.flatMap({ reference.damage[$0] }) != tree {
                    found.append("the tree of \(row.name) (\(row.id)): " + difference(tree, wanted))
                }
            } catch {
                found.append("the tree of \(row.name) (\(row.id)): \(error)")
            }
        }
        for (manifest, chains) in images { found += violations(manifest, chains) }
        return found
    }

    /// Checks that an image with a trusted top layer has all its layers.
    private func violations(_ manifest: String, _ chains: [String]) -> [String] {
        var found = [String]()
        var next = tops[manifest]
        if let top = next.flatMap({ rows[$0] }), !isTrusted(top) { return [] }
        for chain in chains.reversed() {
            guard let row = next.flatMap({ rows[$0] }), row.chain == chain, isTrusted(row) else {
                found.append("image \(manifest) lacks \(chain)")
                break
            }
            next = row.parent
        }
        return found
    }

    /// Checks the invariants that hold if no run is active and a run has cleaned up since the last fault.
    func leftovers(_ reference: Reference) -> [String] {
        var found = [String]()
        if !runs.isEmpty { found.append("files of runs: \(runs)") }
        if pins > 0 { found.append("\(pins) pins") }
        found += rows.values.filter { $0.run != nil }.map { "\($0.name) still belongs to a run" }
        let strange = directories.filter { $0.hasPrefix(".") }
        if !strange.isEmpty { found.append("left behind: \(strange.sorted())") }
        let missing = rows.values.filter { $0.isMissing(in: reference) && !directories.contains("\($0.id)") }
        let ids = Set(rows.keys.map(String.init)).subtracting(missing.map { "\($0.id)" })
        let numbered = directories.filter { Int($0) != nil }
        if numbered != ids {
            found.append("directories \(numbered.sorted()) for snapshots \(ids.sorted())")
        }
        return found
    }
}

extension StoreState.Row {
    /// Whether the reference allows the directory to be missing.
    fileprivate func isMissing(in reference: Reference) -> Bool {
        chain.flatMap { reference.damage[$0] } == .some(.none)
    }
}

/// The first line in which two dumps differ.
func difference(_ found: String, _ wanted: String) -> String {
    let found = found.split(separator: "\n")
    let wanted = wanted.split(separator: "\n")
    let index =
        zip(found, wanted).enumerated().first { $1.0 != $1.1 }?.offset ?? min(found.count, wanted.count)
    return
        "line \(index) is '\(found.dropFirst(index).first ?? "")', not '\(wanted.dropFirst(index).first ?? "")'"
}
