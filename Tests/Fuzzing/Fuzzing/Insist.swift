/// Ends the fuzzer unless a promise holds; a release build keeps the message, as `precondition` does not.
package func insist(_ holds: Bool, _ message: @autoclosure () -> String) {
    if !holds { fatalError(message()) }
}
