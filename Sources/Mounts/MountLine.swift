internal import Kernel
package import SystemPackage

/// A mount as one line for a shell, made of words that need no quotes. The target comes last, or is left to be
/// appended.
package struct MountLine: Equatable, Sendable {
    /// Bytes of options that mount(2) takes. It truncates longer options without an error, and the rest may mount a
    /// wrong tree.
    package static let longestOptions = 4095

    package enum Failure: Error, Equatable, Sendable {
        /// A text that a shell, mount(8) or overlay would interpret.
        case notPlain(String)
        /// All options, or the value of one of them, have more bytes than mount(8) can pass on.
        case tooLong(bytes: Int)
        /// The format cannot express this mount, for the given reason.
        case unsupported(String)
    }

    package let words: [ShellWord]

    /// - Parameters:
    ///   - form: how this kernel takes lower layers.
    ///   - performed: the command of this program that performs the mount. Evaluated only if mount(8) cannot.
    /// - Throws: `.notPlain`, or what `performed` throws.
    package init(
        _ mount: Mount, form: Mount.LowerForm, target: FilePath?,
        performed: @autoclosure () throws(Failure) -> [ShellWord]
    ) throws(Failure) {
        let target = try Self.words(target)
        try Self.check(mount)
        let options = mount.options(form)
        guard mount.parts.count == 1, Self.fits(options) else {
            words = try performed() + target
            return
        }
        let list = try ShellWord(plain: options.joined(separator: ","))
        let type = try ShellWord(plain: mount.type)
        let source = try ShellWord(plain: mount.source)
        switch mount {
        case .bind: words = ["mount", "-o", list, source] + target
        case .overlay, .imageStack: words = ["mount", "-t", type, source, "-o", list] + target
        case .subvolume, .image, .device: words = ["mount", "-t", type, "-o", list, source] + target
        }
    }

    /// Several mounts on one target, each on top of the previous one. No single mount(8) command can do that, so the
    /// line calls this program.
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

    /// - Throws: `.notPlain` for the first path that cannot be part of a line.
    package static func check(_ paths: [FilePath]) throws(Failure) {
        for path in paths where !isPlainValue(path.string) { throw .notPlain(path.string) }
    }

    static func check(_ mount: Mount) throws(Failure) {
        try check(mount.paths)
        switch mount {
        case .image(_, let type, _, let options), .device(_, let type, _, let options):
            for word in [type] + options where !isOption(word) { throw .notPlain(word) }
        case .bind, .overlay, .subvolume, .imageStack: return
        }
    }

    package var text: String { words.command }

    /// Whether both old and new versions of mount(8) pass these options on unchanged. Since util-linux 2.39 mount(8)
    /// sets each option with fsconfig(2), which limits the length of a value.
    static func fits(_ options: [String]) -> Bool {
        let total = options.reduce(0) { $0 + $1.utf8.count + 1 } - 1
        return total <= longestOptions
            && options.allSatisfy { option in
                let value = option.firstIndex(of: "=").map { option[option.index(after: $0)...] } ?? ""
                return value.utf8.count <= MountCalls.longestValue
            }
    }

    /// Whether a text is `name` or `name=value`, both without characters that need quotes.
    private static func isOption(_ text: String) -> Bool {
        text.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false).allSatisfy {
            isPlainValue(String($0))
        }
    }

    /// Whether a text is one word for a shell, and one value for mount(8) and overlay.
    package static func isPlainValue(_ text: String) -> Bool {
        !text.isEmpty && text.utf8.allSatisfy(ShellWord.valueBytes.contains)
    }
}

extension Mount.LowerForm {
    /// The form that this kernel takes. The kernel is asked; if that is not permitted, its version decides.
    package static var ofThisKernel: Mount.LowerForm {
        if let answer = MountCalls.takesAppendedLowers() { return answer ? .appended : .joined }
        return KernelRelease.current >= KernelRelease(major: 6, minor: 7) ? .appended : .joined
    }
}
