internal import Kernel
package import SystemPackage

/// A mount as one line of a shell: words that need no quotes, the target last or left to be appended.
package struct MountLine: Equatable, Sendable {
    /// What mount(2) takes of options. It cuts off the rest without an error, and what is left may mount a
    /// wrong tree.
    package static let longestOptions = 4095

    package enum Failure: Error, Equatable, Sendable {
        /// A text that a shell, mount(8) or overlay would read as something else.
        case notPlain(String)
        /// More bytes of options than mount(8) can pass on, or more in one of them.
        case tooLong(bytes: Int)
        /// What the form cannot say.
        case unsupported(String)
    }

    package let words: [ShellWord]

    /// - Parameters:
    ///   - form: how this kernel takes lower layers.
    ///   - performed: the words that let this program mount by itself, for what mount(8) cannot take. Made only for that.
    /// - Throws: `.notPlain`.
    package init(
        _ mount: Mount, form: Mount.LowerForm, target: FilePath?,
        performed: @autoclosure () throws(Failure) -> [ShellWord]
    ) throws(Failure) {
        let target = try Self.words(target)
        try Self.check(mount)
        let options = mount.options(form)
        guard Self.fits(options) else {
            words = try performed() + target
            return
        }
        let list = try ShellWord(plain: options.joined(separator: ","))
        let type = try ShellWord(plain: mount.type)
        let source = try ShellWord(plain: mount.source)
        switch mount {
        case .bind: words = ["mount", "-o", list, source] + target
        case .overlay: words = ["mount", "-t", type, source, "-o", list] + target
        case .subvolume, .image: words = ["mount", "-t", type, "-o", list, source] + target
        }
    }

    /// Several mounts on one target, each over the one before: no single call of mount(8) does that, so that the
    /// line has this program perform them.
    package init(
        _ mounts: [Mount], form: Mount.LowerForm, target: FilePath?,
        performed: @autoclosure () throws(Failure) -> [ShellWord]
    ) throws(Failure) {
        if mounts.count == 1 {
            words = try MountLine(mounts[0], form: form, target: target, performed: try performed()).words
        } else {
            words = try performed() + Self.words(target)
        }
    }

    private static func words(_ target: FilePath?) throws(Failure) -> [ShellWord] {
        guard let target else { return [] }
        try check([target])
        return [try ShellWord(plain: target.string)]
    }

    /// - Throws: `.notPlain` for the first path that cannot stand in a line.
    package static func check(_ paths: [FilePath]) throws(Failure) {
        for path in paths where !isPrintable(path.string) { throw .notPlain(path.string) }
    }

    static func check(_ mount: Mount) throws(Failure) {
        try check(mount.paths)
        guard case .image(_, let type, _, let options) = mount else { return }
        for word in [type] + options where !isOption(word) { throw .notPlain(word) }
    }

    package var text: String { words.command }

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
        !text.isEmpty && text.utf8.allSatisfy(ShellWord.valueBytes.contains)
    }
}

extension Mount.LowerForm {
    /// What this kernel takes: asked of it, or told by its version where asking is not permitted.
    package static var ofThisKernel: Mount.LowerForm {
        if let answer = MountCalls.takesAppendedLowers() { return answer ? .appended : .joined }
        return KernelRelease.current >= KernelRelease(major: 6, minor: 7) ? .appended : .joined
    }
}
