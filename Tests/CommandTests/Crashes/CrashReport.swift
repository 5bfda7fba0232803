import Foundation
import Streams
import TestSupport

/// The results, in the file that `UNPACK_CRASH_REPORT` names: one line per point, and the totals after each scenario.
enum CrashReport {
    /// Whether every point is tried, instead of a sample.
    static let isComplete = ProcessInfo.processInfo.environment["UNPACK_CRASH_ALL"] != nil
    /// The scenarios to try; nil for all of them.
    static let chosen = ProcessInfo.processInfo.environment["UNPACK_CRASH_SCENARIOS"]?.split(separator: ",")
    /// Whether scenarios are tried that are not in the sample.
    static var hasChoice: Bool { isComplete || chosen != nil }
    private static let path = ProcessInfo.processInfo.environment["UNPACK_CRASH_REPORT"]

    /// Appends the lines in one call, because several tests report concurrently.
    static func add(_ lines: [String]) {
        guard let path, let file = fopen(path, "a") else { return }
        defer { fclose(file) }
        fputs(lines.joined(separator: "\n") + "\n", file)
    }

    /// The points to try: all of them, or the first of every transaction and of every other kind of step, and every
    /// `stride`th one.
    static func sample(_ points: [CrashStore.Point], every stride: Int) -> [CrashStore.Point] {
        if isComplete { return points }
        var seen = Set<String>()
        return points.filter { point in
            let isNew = seen.insert(point.isTransaction ? point.description : point.step).inserted
            return isNew || point.number % stride == 0
        }
    }

    /// The number of points of each kind of step.
    static func kinds(_ points: [CrashStore.Point]) -> String {
        Dictionary(grouping: points, by: \.step).mapValues(\.count).sorted { $0.key < $1.key }
            .map { "\($0.key) \($0.value)" }.joined(separator: ", ")
    }
}
