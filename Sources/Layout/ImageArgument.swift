internal import Kernel
package import OCI
package import SystemPackage

/// What the user typed for an image: `DIR`, `DIR:REF` or `DIR@sha256:…`.
package struct ImageArgument: Equatable, Sendable {
    package let path: FilePath
    package let reference: String?
    package let digest: Digest?

    /// - Parameter exists: whether a path is there; one that is wins over splitting at `:` or `@`.
    package init(parsing text: String, exists: (FilePath) -> Bool) throws(Digest.ParseError) {
        if !exists(FilePath(text)) {
            var malformed: Digest.ParseError?
            if let at = text.lastIndex(of: "@"), exists(FilePath(String(text[..<at]))) {
                do {
                    digest = try Digest(parsing: String(text[text.index(after: at)...]))
                    path = FilePath(String(text[..<at]))
                    reference = nil
                    return
                } catch {
                    malformed = error
                }
            }
            // References have colons too (`busybox:1.37.0-glibc`): the shortest path that exists.
            for colon in text.indices where text[colon] == ":" && exists(FilePath(String(text[..<colon]))) {
                path = FilePath(String(text[..<colon]))
                reference = String(text[text.index(after: colon)...])
                digest = nil
                return
            }
            if let malformed { throw malformed }
        }
        path = FilePath(text)
        reference = nil
        digest = nil
    }
}
