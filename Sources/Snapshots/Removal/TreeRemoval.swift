package import Kernel
internal import Streams

/// The removal of trees by several threads in parallel, also within one tree: each directory is a unit of work.
///
/// A failure stops the removal of its own tree and of no other one.
package final class TreeRemoval: @unchecked Sendable {
    private let monitor = Monitor()

    // Protected by `monitor`.
    /// A stack, so that few directories are open at a time.
    private var rest = [DirectoryRemoval]()
    private var working = 0
    private var failure: SyscallFailure?

    package init(of names: [FileName], in folder: Directory) throws(SyscallFailure) {
        for name in names.reversed() { rest.append(try DirectoryRemoval(name, in: folder)) }
    }

    /// More threads gain nothing on one file system: they share its journal and its locks.
    private static let threads = min(Processor.count, 4)

    /// Files that are removed in about the time that the start of a process takes, some ten milliseconds.
    private static let few = 1000

    /// - Parameters:
    ///   - deletion: how much of it is removed.
    ///   - shouldContinue: polled every thousand files; when it returns false, the rest stays and this returns.
    package func run(
        _ deletion: Deletion, shouldContinue: @escaping @Sendable () -> Bool = { true }
    ) throws(SyscallFailure) {
        work(atMost: Self.few, shouldContinue)
        if deletion == .complete {
            // A small tree needs no other thread; if the system refuses one, the other threads do its work.
            let helpers = (1..<Self.threads).compactMap { _ in
                isOver ? nil : try? WorkerThread { self.work(shouldContinue) }
            }
            work(shouldContinue)
            for helper in helpers { try? helper.join() }
        }
        if let failure = monitor.change({ failure }) { throw failure }
    }

    private var isOver: Bool { monitor.change { rest.isEmpty } }

    private func work(atMost limit: Int = .max, _ shouldContinue: () -> Bool) {
        var count = 0
        while count < limit, shouldContinue(), case .directory(let next) = take() {
            // A directory counts as one file.
            count += 1
            step(of: next, &count)
        }
    }

    private enum Work {
        case directory(DirectoryRemoval)
        case finished
    }

    private func take() -> Work {
        monitor.wait { () -> Work? in
            if let next = rest.popLast() {
                working += 1
                return .directory(next)
            }
            // A thread that is working may find more directories.
            return working > 0 ? nil : .finished
        }
    }

    private func step(of directory: DirectoryRemoval, _ count: inout Int) {
        let found = Result { () throws(SyscallFailure) in try directory.step(&count) }
        monitor.change {
            working -= 1
            switch found {
            case .success(let more): rest += more
            case .failure(let error): failure = failure ?? error
            }
        }
    }
}
