/// The directories from a root down to the current one, of which a bounded number is open at any depth.
///
/// The deepest directories stay open, and every `interval`th one above them. A closed directory is reopened by name
/// from the nearest open one above it, so that the walk of a whole tree opens each directory a constant number of
/// times.
package struct DirectoryStack<Place> {
    private struct Level {
        let name: FileName
        /// Nil while closed.
        var place: Place?
    }

    /// Maximum number of open directories above the window of the deepest ones.
    private static var maximumCheckpoints: Int { 64 }

    private let root: Place
    private let window: Int
    private var interval = 64
    private var levels = [Level]()

    /// - Parameter weight: number of descriptors per place.
    package init(_ root: Place, weight: Int = 1) {
        self.root = root
        window = max(8, 64 / max(1, weight))
    }

    /// Number of levels below the root.
    package var depth: Int { levels.count }
    /// Names from the root down.
    package var names: [FileName] { levels.map(\.name) }

    /// Descends to a directory that the caller has opened in the deepest one.
    package mutating func push(_ name: FileName, _ place: Place) {
        levels.append(Level(name: name, place: place))
        close(levels.count - 1 - window)
        guard levels.count > Self.maximumCheckpoints * interval else { return }
        interval *= 2
        for index in 0..<(levels.count - window) { close(index) }
    }

    package mutating func pop() { levels.removeLast() }

    private mutating func close(_ index: Int) {
        if index >= 0, !index.isMultiple(of: interval) { levels[index].place = nil }
    }

    /// The deepest directory, reopened if it was closed.
    ///
    /// - Parameter open: opens an entry of a directory.
    package mutating func deepest<Failure>(
        _ open: (Place, FileName) throws(Failure) -> Place
    ) throws(Failure) -> Place {
        guard let last = levels.last else { return root }
        if let place = last.place { return place }
        let start = levels.lastIndex { $0.place != nil }
        var place = start.flatMap { levels[$0].place } ?? root
        for index in (start.map { $0 + 1 } ?? 0)..<levels.count {
            place = try open(place, levels[index].name)
            levels[index].place = place
            close(index <= levels.count - 1 - window ? index : -1)
        }
        return place
    }
}

extension DirectoryStack<Directory> {
    package mutating func deepest() throws(SyscallFailure) -> Directory {
        try deepest { (directory, name) throws(SyscallFailure) in try directory.open(name) }
    }
}
