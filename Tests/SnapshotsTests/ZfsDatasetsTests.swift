import Kernel
import SystemPackage
import TestSupport
import Testing

@testable import Snapshots

/// What the program zfs(8) prints (ZFS 2.1). Datasets themselves are tested in a virtual machine, by `make test-vm`.
@Suite("ZFS datasets")
struct ZfsDatasetsTests {
    @Test("Datasets are named below that of the store")
    func names() {
        let datasets = ZfsDatasets(parent: "tank/unpack")
        #expect(datasets.name(12) == "tank/unpack/12")
        #expect(datasets.committedName(12) == "tank/unpack/12@snapshot")
    }

    @Test(
        "Failures of zfs have the reason that it prints, and an errno",
        arguments: [
            ("cannot create 'tank/a/1': dataset already exists\n", "dataset already exists", .fileExists),
            (
                "cannot open 'tank/a/1': dataset does not exist\n", "dataset does not exist",
                .noSuchFileOrDirectory
            ),
            ("cannot destroy 'tank/a/1@snapshot': dataset is busy\n", "dataset is busy", .resourceBusy),
            (
                "cannot destroy snapshot tank/a/1@snapshot: dataset is busy\n",
                "cannot destroy snapshot tank/a/1@snapshot: dataset is busy", .resourceBusy
            ),
            (
                "cannot destroy 'tank/a/1@snapshot': snapshot has dependent clones\nuse '-R' to destroy\n",
                "snapshot has dependent clones", .directoryNotEmpty
            ),
            ("cannot create 'tank/a/1': out of space\n", "out of space", .noSpace),
            ("cannot create 'tank/a/1': permission denied\n", "permission denied", .permissionDenied),
            ("internal error: Invalid argument\n", "internal error: Invalid argument", .ioError),
            ("", "it gives no reason", .ioError),
        ] as [(String, String, Errno)])
    func failures(text: String, message: String, errno: Errno) {
        #expect(ZfsDatasets.message(in: text) == message)
        #expect(ZfsDatasets.errno(of: message) == errno)
    }

    @Test("The list of a dataset and what depends on it is read")
    func list() {
        let text = "tank/a/1\t1\ntank/a/1@snapshot\t1\ntank/a/1@my daily\t1\ntank/a/1/x\t-\n"
        #expect(
            ZfsDatasets.datasets(text) == [
                .init(name: "tank/a/1", mark: "1"), .init(name: "tank/a/1@snapshot", mark: "1"),
                .init(name: "tank/a/1@my daily", mark: "1"), .init(name: "tank/a/1/x", mark: "-"),
            ])
        #expect(ZfsDatasets.datasets("").isEmpty)
    }

    @Test(
        "The number of a volume is at the end of its link",
        arguments: [
            ("/dev/mapper/pool-unpack-12", 12), ("tank/unpack/7", 7), ("tank/unpack2/30", 30),
            ("tank/unpack", nil),
            ("", nil),
        ] as [(String, Int64?)])
    func numbers(target: String, number: Int64?) {
        #expect(ZfsBackend.number(atEndOf: Array(target.utf8)) == number)
    }
}
