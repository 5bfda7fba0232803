internal import Kernel
package import SystemPackage

/// A mount as one line of a shell: words that need no quotes, the target last or left to be appended.
package struct MountLine: Equatable, Sendable {
    /// What mount(2) takes of options. It cuts off the rest without an error, and what is left may mount a
    /// wrong tree.
    package static let longestOptions = 4095

    package enum Failure: Error, Equatable, Sendable {
        /// A path that a shell or mount(8) would read as something else.
        case unprintable(FilePath)
        /// More bytes of options than mount(8) can pass on, or more in one of them.
        case tooLong(bytes: Int)
        /// What the form cannot say.
        case unsupported(String)
    }

    package let words: [String]

    /// - Parameters:
    ///   - form: how this kernel takes lower layers.
    ///   - performed: the words that let this program mount by itself, for what mount(8) cannot take.
    package init(
        _ mount: Mount, form: Mount.LowerForm, target: FilePath?, performed: [String]
    ) throws(Failure) {
        try Self.check(mount)
        try Self.check(target.map { [$0] } ?? [])
        let options = mount.options(form)
        let targetWords = target.map { [$0.string] } ?? []
        guard Self.fits(options) else {
            words = performed + targetWords
            return
        }
        let list = options.joined(separator: ",")
        switch mount {
        case .bind: words = ["mount", "-o", list, mount.source] + targetWords
        case .overlay: words = ["mount", "-t", "overlay", "overlay", "-o", list] + targetWords
        case .subvolume, .image:
            words = ["mount", "-t", mount.type, "-o", list, mount.source] + targetWords
        }
    }

    /// Several mounts on one target, each over the one before: no single call of mount(8) does that, so that the
    /// line has this program perform them.
    package init(
        _ mounts: [Mount], form: Mount.LowerForm, target: FilePath?, performed: [String]
    ) throws(Failure) {
        if mounts.count == 1 {
            words = try MountLine(mounts[0], form: form, target: target, performed: performed).words
        } else {
            try Self.check(target.map { [$0] } ?? [])
            words = performed + (target.map { [$0.string] } ?? [])
        }
    }

    /// - Throws: `.unprintable` for the first path that cannot stand in a line.
    package static func check(_ paths: [FilePath]) throws(Failure) {
        for path in paths where !isPrintable(path.string) { throw .unprintable(path) }
    }

    static func check(_ mount: Mount) throws(Failure) {
        try check(mount.paths)
        guard case .image(_, let type, _, let options) = mount else { return }
        for word in [type] + options where !isOption(word) { throw .unprintable(FilePath(word)) }
    }

    package var text: String { words.joined(separator: " ") }

    /// Whether mount(8) passes these options on whole, old or new: from 2.39 on it sets each by fsconfig(2).
    static func fits(_ options: [String]) -> Bool {
        let total = options.reduce(0) { $0 + $1.utf8.count + 1 } - 1
        return total <= longestOptions
            && options.allSatisfy { option in
                let value = option.firstIndex(of: "=").map { option[option.index(after: $0)...] } ?? ""
                return value.utf8.count <= MountCalls.longestValue
            }
    }

    /// A name, or a name and a value.
    private static func isOption(_ text: String) -> Bool {
        text.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false).allSatisfy {
            isPrintable(String($0))
        }
    }

    /// Whether a text is one word to a shell, and one value to mount(8) and overlay.
    package static func isPrintable(_ text: String) -> Bool {
        !text.isEmpty
            && text.utf8.allSatisfy { byte in
                switch byte {
                case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
                    UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "/"), UInt8(ascii: "."),
                    UInt8(ascii: "_"), UInt8(ascii: "-"), UInt8(ascii: "+"), UInt8(ascii: "@"):
                    true
                default: false
                }
            }
    }
}

extension Mount.LowerForm {
    /// What this kernel takes: asked of it, or told by its version where asking is not permitted.
    package static var ofThisKernel: Mount.LowerForm {
        if let answer = MountCalls.takesAppendedLowers() { return answer ? .appended : .joined }
        return KernelRelease.current >= KernelRelease(major: 6, minor: 7) ? .appended : .joined
    }
}
