internal import OCI

/// A step of an image's history, for JSON.
struct HistoryDocument: Encodable {
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

    /// The steps that cannot be attributed to layers; nil if there are none.
    static func list(of config: ImageConfig) -> [HistoryDocument]? {
        config.looseHistory.isEmpty ? nil : config.looseHistory.map(HistoryDocument.init)
    }

    /// For people.
    var text: String {
        let what = createdBy ?? comment ?? "(no command)"
        return emptyLayer ? "\(what)  (no layer)" : what
    }
}
