/// The image's accounts, for access control lists that have names.
extension LayerApplier {
    /// Completes the layer, and reads them as they show with it. The layer lacks those lists, and has to be applied again.
    ///
    /// - Throws: as `finish`.
    mutating func readAccounts() throws -> ImageAccounts {
        try finish()
        let view = try openLower().adding(try tree.open(tree.root))
        func contents(_ path: String) throws -> [UInt8] {
            try view.contents(of: path, limit: Int(ImageAccounts.largestFile)) ?? []
        }
        return ImageAccounts(
            passwd: try contents(ImageAccounts.passwd), group: try contents(ImageAccounts.group))
    }
}
