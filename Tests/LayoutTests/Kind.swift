import Layout

/// The name of a failure's case, without its values.
func kind(_ failure: LayoutFailure?) -> String {
    guard let failure else { return "nothing" }
    return String("\(failure)".prefix { $0 != "(" })
}
