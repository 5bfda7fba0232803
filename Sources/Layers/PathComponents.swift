internal import Kernel

/// The components of a path that are still to be resolved, as path_resolution(7) describes it: every walk of a tree
/// that follows symlinks takes its steps from here. `.` and empty components are left out.
struct PathComponents {
    enum Component {
        case name(FileName)
        /// `..`
        case parent
        /// Longer than any name can be.
        case tooLong
    }

    /// The target of a symlink.
    struct Target {
        let isAbsolute: Bool
        /// In reverse order.
        let components: [Component]
    }

    /// The next one last.
    private var remaining: [Component]
    /// Number of symlinks that were followed.
    private(set) var symlinks: Int

    /// - Parameter symlinks: number of symlinks that were followed before.
    init(_ names: some BidirectionalCollection<FileName>, symlinks: Int = 0) {
        remaining = names.reversed().map(Component.name)
        self.symlinks = symlinks
    }

    init(_ path: [UInt8]) {
        remaining = Self.components(of: path)
        symlinks = 0
    }

    var isEmpty: Bool { remaining.isEmpty }

    /// The remaining names.
    var names: [FileName] {
        remaining.reversed().compactMap { if case .name(let name) = $0 { name } else { nil } }
    }

    mutating func next() -> Component? { remaining.popLast() }

    /// Puts the target of a symlink in place of the symlink, whose name `next` has returned.
    ///
    /// - Returns: nil if the path has more symlinks than the kernel follows.
    mutating func follow(_ target: [UInt8]) -> Target? {
        symlinks += 1
        if symlinks > TreeLimits.symlinks { return nil }
        let components = Self.components(of: target)
        remaining += components
        return Target(isAbsolute: target.first == UInt8(ascii: "/"), components: components)
    }

    private static func components(of path: [UInt8]) -> [Component] {
        path.split(separator: UInt8(ascii: "/")).reversed().compactMap { part in
            if let name = FileName(part) { return .name(name) }
            if part.count > FileName.maximumLength { return .tooLong }
            return part.count == 2 ? .parent : nil
        }
    }
}
