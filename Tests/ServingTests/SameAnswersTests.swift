import Foundation
import SystemPackage
import TestSupport
import Testing

/// Compares containerd's own snapshotter and this one, by the output of `ctr`.
@Suite("The same answers", .enabled(if: TestEnvironment.canMountOverlay, "needs root and overlay mounts"))
struct SameAnswersTests {
    /// The arguments after `ctr snapshots`, in the order of the calls.
    private static let questions = [
        "ls", "info none", "prepare a", "prepare a", "view a", "info a", "mounts /m a", "prepare b none",
        "prepare b a", "commit base none", "commit a a", "commit base a", "info base", "info a",
        "usage -b base",
        "mounts /m base", "commit again base", "prepare w base", "mounts /m w", "view v base", "mounts /m v",
        // Without this label, a collection may remove the unreferenced view after any removal.
        "label v containerd.io/gc.root=1",
        "commit y v", "prepare x w", "view x v", "rm base", "commit base w", "label w k=1 l=2", "label w k=",
        "info w", "label none k=1", "commit top w", "view both top", "mounts /m both",
        "label both containerd.io/gc.root=1", "tree", "ls",
        "rm base",
        "rm v", "rm both", "rm top", "rm top", "rm base", "rm none", "usage -b none", "ls",
    ]

    @Test(
        "Every answer and every error equals that of containerd's overlayfs",
        arguments: ContainerdDaemon.Release.present)
    func same(release: ContainerdDaemon.Release) throws {
        let node = try Node(release)
        let answers = try ["overlayfs", "unpack"].map { snapshotter in
            try Self.questions.map { question in
                let words = question.split(separator: " ").map(String.init)
                return Answer(
                    try node.containerd.tryCtr(["snapshots", "--snapshotter", snapshotter] + words))
            }
        }
        for (question, (expected, answer)) in zip(Self.questions, zip(answers[0], answers[1])) {
            #expect(answer == expected, "\(question)")
        }
    }

    private struct Answer: Equatable, CustomStringConvertible {
        let status: Int32
        /// Without paths, IDs and times, which may differ.
        let text: String
        /// The last part of the message, by which containerd classifies errors.
        let refusal: String?

        var description: String { "\(status) \(refusal ?? "")\n\(text)" }

        init(_ command: Command) {
            status = command.status
            text = Self.plain(command.text)
            refusal = command.errorText.split(separator: "\n").last?.split(separator: ": ").last.map(
                String.init)
        }

        private static func plain(_ text: String) -> String {
            var text = text
            text.replace(/\/[^ ",=:]*\/(?:overlayfs|snapshots)\/[0-9]+/, with: "DIR")
            text.replace(/[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:.]+Z/, with: "TIME")
            // The position of this option differs between releases of containerd.
            text.replace(/,index=off|index=off,/, with: "")
            // The order of labels is undefined.
            return text.split(separator: "\n").map { line in
                line.split(separator: " ").map { $0.split(separator: ",").sorted().joined(separator: ",") }
                    .joined(separator: " ")
            }.joined(separator: "\n")
        }
    }
}
