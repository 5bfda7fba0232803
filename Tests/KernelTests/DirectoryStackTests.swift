import Kernel
import SystemPackage
import TestSupport
import Testing

@Suite("Open directories of a walk")
struct DirectoryStackTests {
    private final class Counter { var open = 0 }

    /// A place that counts how many are open.
    private final class Place {
        let depth: Int
        let counter: Counter
        init(_ depth: Int, _ counter: Counter) {
            self.depth = depth
            self.counter = counter
            counter.open += 1
        }
        deinit { counter.open -= 1 }
    }

    @Test(
        "A walk of any depth opens each directory a few times, and keeps few open",
        arguments: [10, 64, 4096, 100_000])
    func walk(depth: Int) {
        let counter = Counter()
        let name = FileName(literal: "d")
        var opened = 0
        var most = 0
        var path = DirectoryStack(Place(0, counter))
        func deepest() -> Int {
            let place = path.deepest { above, _ in
                opened += 1
                return Place(above.depth + 1, counter)
            }
            most = max(most, counter.open)
            return place.depth
        }
        for level in 1...depth {
            opened += 1
            path.push(name, Place(level, counter))
            #expect(deepest() == level)
        }
        for level in (0..<depth).reversed() {
            path.pop()
            #expect(deepest() == level)
        }
        #expect(path.depth == 0)
        // The deeper the walk, the larger the distance between open directories.
        #expect(opened <= depth * (depth <= 4096 ? 3 : 40))
        #expect(most <= 64 + 64 + 64 + 2, "\(most)")
    }

    @Test("A larger weight keeps fewer places open")
    func weight() {
        let counter = Counter()
        var path = DirectoryStack(Place(0, counter), weight: 100)
        for level in 1...64 { path.push(FileName(literal: "d"), Place(level, counter)) }
        #expect(counter.open <= 10)
    }
}

@Suite(
    "Cancelled calls", .enabled(if: TestEnvironment.canApplyLayers, "no directory that supports all metadata")
)
struct UnwantedCallTests {
    private let temporary: TemporaryDirectory
    private let folder: Directory

    init() throws {
        temporary = try TemporaryDirectory(in: try #require(TestEnvironment.scratch))
        folder = try Directory(opening: temporary.path)
    }

    private struct Unwanted: Error {}

    /// Throws after `count` calls.
    private func check(_ count: Int) -> () throws -> Void {
        var left = count
        return {
            left -= 1
            if left < 0 { throw Unwanted() }
        }
    }

    @Test("A cancelled removal ends after the current step, and can be repeated")
    func removal() throws {
        let name = FileName(literal: "a")
        let top = try folder.ensureDirectory("a")
        for number in 0..<20 { _ = try top.ensureDirectory("\(number)") }
        #expect(throws: Unwanted.self) { try folder.removeTree(name, check: check(5)) }
        #expect(try !top.names().isEmpty)
        #expect(throws: Unwanted.self) { try top.removeContents(check: check(2)) }
        try folder.removeTree(name)
        #expect(try folder.status(of: name) == nil)
    }

    @Test("A cancelled copy of a large file ends between two pieces")
    func copy() throws {
        let source = try folder.openOrCreateFile(FileName(literal: "a"), mode: 0o600)
        // On a file system that does not share extents, 40 MiB take several pieces.
        let piece = [UInt8](repeating: 1, count: 1 << 20)
        for index in 0..<40 {
            try source.write(piece.span.bytes, at: Int64(index) << 20)
        }
        let copy = try folder.openOrCreateFile(FileName(literal: "b"), mode: 0o600)
        let result = Result { try copy.copyContent(of: source, check: check(1)) }
        // If extents are shared, one call makes the whole copy, and it succeeds.
        if case .failure(let failure) = result {
            #expect(failure is Unwanted)
            #expect(try copy.status().blocks < source.status().blocks)
        }
    }

    @Test("Hundreds of missing directories are made")
    func making() throws {
        let path = FilePath(temporary.path.string + "/x" + String(repeating: "/d", count: 600))
        _ = try Directory.makingPath(path, mode: 0o700)
        #expect(try Directory(opening: path).names() == [])
    }

    @Test("Directories are made with any bytes as names, and through . and ..")
    func makingOfBytes() throws {
        let name = [0x61, 0xFF, 0xC3] as [UInt8]
        let path = FilePath(temporary.path.bytes + Array("/new/../".utf8) + name + Array("/./b".utf8))
        _ = try Directory.makingPath(path, mode: 0o750, parents: 0o711)
        #expect(try Set(folder.names()) == [FileName(literal: "new"), try #require(FileName(name))])
        let made = try #require(FileName(name))
        #expect(try folder.status(of: made)?.mode == 0o711)
        #expect(try folder.open(made).status(of: FileName(literal: "b"))?.mode == 0o750)
    }
}
