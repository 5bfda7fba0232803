/// Traps if an invariant does not hold. Unlike `precondition`, a release build prints the message.
package func insist(_ holds: Bool, _ message: @autoclosure () -> String) {
    if !holds { fatalError(message()) }
}
