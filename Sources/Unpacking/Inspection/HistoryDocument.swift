internal import OCI

/// A step of an image's history, as JSON and as text.
package struct HistoryDocument: Encodable {
    let created: String?
    let createdBy: String?
    let comment: String?
    let emptyLayer: Bool

    private init(_ step: ImageConfig.History) {
        created = step.created
        createdBy = step.createdBy
        comment = step.comment
        emptyLayer = step.emptyLayer == true
    }

    /// The history of an image whose steps cannot be attributed to layers; nil if they can.
    static func list(of config: ImageConfig) -> [HistoryDocument]? {
        config.unattributedHistory.isEmpty ? nil : config.unattributedHistory.map(HistoryDocument.init)
    }

    /// One line of text.
    package var text: String {
        let what = createdBy ?? comment ?? "(no command)"
        return emptyLayer ? "\(what)  (no layer)" : what
    }
}
