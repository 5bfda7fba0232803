internal import Kernel
internal import Layers
internal import Snapshots
internal import Streams

/// Syncs the store while layers are being read, so that little is left for the final sync. By default the kernel starts
/// to write back when 10 % of the memory is dirty, or pages are 30 s old (`vm.dirty_background_ratio`,
/// `vm.dirty_expire_centisecs`).
///
/// Guarantees nothing and ignores errors: the final sync makes the data durable and reports what failed.
struct EarlyWriteback: ~Copyable {
    /// Bytes that are written between two syncs.
    private static let interval: Int64 = 64 << 20

    private let isOver = Promise<Void>()
    private let thread: WorkerThread<Void>?

    /// - Parameter budget: the budget of the layers, which counts the bytes that they have written.
    init(of budget: Budget, to store: SnapshotStore) {
        // Without the thread only the final sync takes longer.
        thread = try? WorkerThread { [isOver] in
            var synced: Int64 = 0
            while isOver.wait(milliseconds: 20) == nil {
                guard budget.written - synced >= Self.interval else { continue }
                synced = budget.written
                try? store.syncFileSystem()
            }
        }
    }

    consuming func end() {
        isOver.fulfil(())
        try? thread?.join()
    }
}
