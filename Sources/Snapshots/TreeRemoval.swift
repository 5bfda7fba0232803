package import Kernel
internal import Streams

/// Trees that are being removed by several threads at once, also within one tree: its directories are the pieces.
///
/// What fails keeps its tree from going, and no other.
package final class TreeRemoval: @unchecked Sendable {
    private let monitor = Monitor()

    // Guarded by `monitor`.
    /// The last one is next, so that few directories are open at once.
    private var rest = [DoomedDirectory]()
    private var working = 0
    private var failure: SyscallFailure?

    package init(of names: [FileName], in folder: Directory) throws(SyscallFailure) {
        for name in names.reversed() { rest.append(try DoomedDirectory(name, in: folder)) }
    }

    /// What one file system can use: its journal and its locks are shared by all.
    private static let threads = min(Processor.count, 4)

    /// Files, roughly, that are gone sooner than another process is started: some ten milliseconds.
    private static let few = 1000

    /// - Parameters:
    ///   - deletion: how much of it is removed.
    ///   - isWanted: polled every thousand files; when it returns false, the rest stays and this returns.
    package func run(
        _ deletion: Deletion, isWanted: @escaping @Sendable () -> Bool = { true }
    ) throws(SyscallFailure) {
        work(atMost: Self.few, isWanted)
        if deletion == .whole {
            // What is small needs no other thread, and one that the system does not give is not missed.
            let helpers = (1..<Self.threads).compactMap { _ in
                isOver ? nil : try? WorkerThread { self.work(isWanted) }
            }
            work(isWanted)
            for helper in helpers { try? helper.join() }
        }
        if let failure = monitor.change({ failure }) { throw failure }
    }

    private var isOver: Bool { monitor.change { rest.isEmpty } }

    private func work(atMost limit: Int = .max, _ isWanted: () -> Bool) {
        var count = 0
        while count < limit, isWanted(), let next = take() {
            // A directory is something, too.
            count += 1
            removeSome(of: next, &count)
        }
    }

    /// - Returns: nil when all is done.
    private func take() -> DoomedDirectory? {
        monitor.wait { () -> DoomedDirectory?? in
            // Who is at work may find more.
            if rest.isEmpty, working > 0 { return nil }
            if !rest.isEmpty { working += 1 }
            return .some(rest.popLast())
        }
    }

    private func removeSome(of directory: DoomedDirectory, _ count: inout Int) {
        let found = Result { () throws(SyscallFailure) in try directory.removeSome(&count) }
        monitor.change {
            working -= 1
            switch found {
            case .success(let more): rest += more
            case .failure(let error): failure = failure ?? error
            }
        }
    }
}
