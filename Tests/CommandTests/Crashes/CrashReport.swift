import Foundation
import Streams
import TestSupport

/// What was tried and what came of it: a line a point in the file that `UNPACK_CRASH_REPORT` names, the sums at its end
/// of each scenario.
enum CrashReport {
    /// Whether every point is tried, not a sample of them.
    static let isComplete = ProcessInfo.processInfo.environment["UNPACK_CRASH_ALL"] != nil
    /// The scenarios that are tried; nil for all of them.
    static let chosen = ProcessInfo.processInfo.environment["UNPACK_CRASH_SCENARIOS"]?.split(separator: ",")
    /// Whether scenarios are tried that the sample leaves out.
    static var hasChoice: Bool { isComplete || chosen != nil }
    private static let path = ProcessInfo.processInfo.environment["UNPACK_CRASH_REPORT"]

    /// Appends in one call: several tests report at once.
    static func add(_ lines: [String]) {
        guard let path, let file = fopen(path, "a") else { return }
        defer { fclose(file) }
        fputs(lines.joined(separator: "\n") + "\n", file)
    }

    /// Which points are tried: all of them, or the first of every transaction and of every other step, and some between.
    static func sample(_ points: [CrashStore.Point], every stride: Int) -> [CrashStore.Point] {
        if isComplete { return points }
        var seen = Set<String>()
        return points.filter { point in
            let isNew = seen.insert(point.isTransaction ? point.description : point.step).inserted
            return isNew || point.number % stride == 0
        }
    }

    /// How many points of each step there are.
    static func kinds(_ points: [CrashStore.Point]) -> String {
        Dictionary(grouping: points, by: \.step).mapValues(\.count).sorted { $0.key < $1.key }
            .map { "\($0.key) \($0.value)" }.joined(separator: ", ")
    }
}
