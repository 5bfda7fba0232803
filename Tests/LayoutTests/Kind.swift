import Layout

/// What a failure is, without what it tells.
func kind(_ failure: LayoutFailure?) -> String {
    guard let failure else { return "nothing" }
    return String("\(failure)".prefix { $0 != "(" })
}
