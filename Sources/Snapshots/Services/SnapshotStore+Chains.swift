internal import Kernel
package import OCI

/// Coordination between processes that unpack or need the same chain.
extension SnapshotStore {
    /// - Returns: nil while another process unpacks the chain.
    package func tryLock(_ chain: ChainID) throws(StoreFailure) -> ChainLock? {
        try attempting("cannot lock a chain") { () throws(SyscallFailure) in
            try ChainLock.tryTake(chain, in: locks)
        }
    }

    /// Finds chains as `verified` does, and keeps the snapshots from being removed while the run lives.
    package func protect(_ chains: [ChainID], in run: Run) throws(StoreFailure) -> [ChainID: SnapshotInfo] {
        try database.write { transaction in
            var held = [ChainID: SnapshotInfo]()
            for chain in chains {
                guard let row = try transaction.snapshot(holding: chain) else { continue }
                try transaction.pin(row.id, in: run)
                held[chain] = try transaction.info(row)
            }
            return held
        }
    }

    /// Ends what `hold` has begun. The pins of a run that ends without this call are removed by the next run.
    package func release(_ run: Run) throws(StoreFailure) {
        try database.write { try $0.unpinAll(of: run) }
    }
}
