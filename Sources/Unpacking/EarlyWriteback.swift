internal import Kernel
internal import Layers
internal import Snapshots
internal import Streams

/// Lets the disk write while layers are still read, so that little is left for the sync at the end: the kernel by itself begins
/// when a tenth of the memory is dirty, or after half a minute.
///
/// It promises nothing: that what is recorded is on the disk is the last sync's affair, which also reports errors.
struct EarlyWriteback: ~Copyable {
    /// Bytes that are worth a sync of their own.
    private static let interval: Int64 = 64 << 20

    private let isOver = Promise<Void>()
    private let thread: WorkerThread<Void>?

    /// - Parameter budget: of the layers, which knows what has been written.
    init(of budget: Budget, to store: SnapshotStore) {
        // One that the system does not give is not missed.
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
