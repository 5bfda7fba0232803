internal import GRDB
internal import Kernel
package import OCI

/// Chains between processes: who unpacks one, and who needs one that is there.
extension SnapshotStore {
    /// - Returns: nil while another process unpacks the chain.
    package func tryLock(_ chain: ChainID) throws(StoreFailure) -> ChainLock? {
        try attempting("cannot lock a chain") { () throws(SyscallFailure) in
            try ChainLock.tryTake(chain, in: locks)
        }
    }

    /// Looks chains up as `verified` does, and keeps what is found from being removed while the run lives.
    package func hold(_ chains: [ChainID], in run: Run) throws(StoreFailure) -> [ChainID: SnapshotInfo] {
        try write { database in
            var held = [ChainID: SnapshotInfo]()
            for chain in chains {
                guard let row = try SnapshotRow.holding(chain, self.snapshotter, boot: self.boot, database)
                else {
                    continue
                }
                try self.pin(row.id, in: run, database)
                held[chain] = try row.info(database)
            }
            return held
        }
    }

    func pin(_ id: Int64, in run: Run, _ database: Database) throws {
        try database.execute(sql: "INSERT OR IGNORE INTO pin VALUES (?, ?)", arguments: [run.name, id])
    }

    /// Ends what `hold` began. A run that cannot say so any more is ended by the next one.
    package func release(_ run: Run) throws(StoreFailure) {
        try write { try $0.execute(sql: "DELETE FROM pin WHERE run = ?", arguments: [run.name]) }
    }
}
