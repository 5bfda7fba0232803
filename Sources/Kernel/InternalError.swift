/// A state that the program's own rules exclude: a defect of the program, never of an image, a file system or a user.
package struct InternalError: Error, Equatable, Sendable, CustomStringConvertible {
    package let description: String

    package init(_ description: String) { self.description = description }
}
