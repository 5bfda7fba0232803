import TestSupport

/// Generates a stack of layers from a seed: entries of every kind with few names, so that they collide. Most entries
/// that the model refuses are removed, because after a refusal the rest of the stack is not tested.
struct LayerGenerator {
    private typealias Path = [String]

    private var random: SplitMix64
    /// Paths of files in the layers so far: the targets of hard links.
    private var targets = [Path]()

    static func stack(seed: UInt64) -> [[TarEntry]] {
        var generator = LayerGenerator(random: SplitMix64(state: seed))
        var stack = [[TarEntry]]()
        var below = MergedModel()
        for _ in 1...generator.number(1...4) {
            let layer = generator.layer(over: below)
            stack.append(layer)
            below = (try? below.applying(layer)) ?? below
        }
        return stack
    }

    private init(random: SplitMix64) { self.random = random }

    private mutating func layer(over below: MergedModel) -> [TarEntry] {
        var layer = [TarEntry]()
        for _ in 1...number(1...12) {
            let longer = layer + entries()
            if chance(2) || (try? below.applying(longer)) != nil { layer = longer }
        }
        return layer
    }

    // MARK: One entry

    /// The frequency of each kind of entry, in percent.
    private enum Kind: Int, CaseIterable {
        case file = 25
        case directory = 19
        case symlink = 14
        case hardLink = 15
        case whiteout = 11
        case opaque = 5
        case special = 6
        case root = 3
        case pseudoLink = 2

        static let weighted = allCases.flatMap { Array(repeating: $0, count: $0.rawValue) }
    }

    private mutating func entries() -> [TarEntry] {
        let path = newPath()
        let name = spelled(path)
        switch pick(Kind.weighted) {
        case .file:
            targets.append(path)
            return [withAttributes(dressed(.file(name, pick(["", "1", "22"]))), capabilities: true)]
        case .directory: return [withAttributes(dressed(.directory(name)))]
        case .symlink:
            targets.append(path)
            return [dressed(.symlink(name, to: linkTarget())).mode(0o777)]
        case .hardLink:
            let target = chance(90) ? targets.randomElement(using: &random) : nil
            targets.append(path)
            let link = TarEntry.hardLink(name, to: spelled(target ?? newPath()))
            return [chance(4) ? withAttributes(dressed(link)) : dressed(link)]
        case .whiteout: return [.whiteout(Bytes(path.joined(separator: "/")).description)]
        case .opaque: return [.opaque(chance(15) ? "" : path.joined(separator: "/"))]
        case .special: return [special(name, path)]
        case .root: return [withAttributes(dressed(.directory(pick(["./", "/", "."]))))]
        case .pseudoLink: return pseudoLink(name, path)
        }
    }

    private mutating func special(_ name: Bytes, _ path: Path) -> TarEntry {
        let forged = TarEntry.character(name, 0, 0)
        if chance(10) { return forged }
        targets.append(path)
        return dressed(pick([.fifo(name), .character(name, 1, 3), .block(name, 7, 1)]))
    }

    private mutating func pseudoLink(_ name: Bytes, _ path: Path) -> [TarEntry] {
        let file: Bytes = ".wh..wh.plnk/1.2"
        targets.append(path)
        return [dressed(.file(file, "kept")), dressed(.hardLink(name, to: file))]
    }

    // MARK: Names

    private mutating func newPath() -> Path {
        (0..<pick([1, 1, 2, 2, 2, 3])).map { _ in pick(["a", "b", "c"]) }
    }

    /// One of the spellings of a path, which all mean the same.
    private mutating func spelled(_ path: Path) -> Bytes {
        let plain = path.joined(separator: "/")
        if chance(85) { return Bytes(plain) }
        return Bytes(
            pick(["./\(plain)", "/\(plain)", path.joined(separator: "/./"), "x/..//\(plain)", "../\(plain)"]))
    }

    private mutating func linkTarget() -> Bytes {
        let path = newPath().joined(separator: "/")
        return Bytes(
            pick([
                path, path, path, "/\(path)", "../\(path)", "\(path)/../\(pick(["a", "b"]))", ".", "..", "/",
                "n/m",
            ]))
    }

    // MARK: Metadata

    private mutating func dressed(_ entry: TarEntry) -> TarEntry {
        var entry = entry
        if chance(40) { entry = entry.mode(pick([0, 0o600, 0o755, 0o4755, 0o2711, 0o1777, 0o6755])) }
        if chance(30) { entry = entry.owned(pick([0, 1, 1000]), pick([0, 5, 4_294_967_294])) }
        if chance(50) { entry = entry.at(pick([-7, 1, 4_294_967_296]), pick([0, 1, 999_999_999])) }
        return entry
    }

    private mutating func withAttributes(_ entry: TarEntry, capabilities: Bool = false) -> TarEntry {
        var entry = entry
        if chance(15) { entry = entry.xattr("user.a", pick(["", "1"])) }
        if chance(10) { entry = entry.xattr("user.b", [0, 255]) }
        if capabilities, chance(10) { entry = entry.xattr("security.capability", Self.capability) }
        return entry
    }

    static let capability: Bytes = [1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]

    // MARK: Chance

    private mutating func number(_ range: ClosedRange<Int>) -> Int { Int.random(in: range, using: &random) }
    private mutating func chance(_ percent: Int) -> Bool { number(1...100) <= percent }
    private mutating func pick<Element>(_ elements: [Element]) -> Element {
        elements[number(0...elements.count - 1)]
    }
}
