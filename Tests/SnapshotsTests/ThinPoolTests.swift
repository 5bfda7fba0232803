import TestSupport
import Testing

@testable import Snapshots

/// The status of a pool in the form of the kernel (Documentation/admin-guide/device-mapper/thin-provisioning.rst). Pools
/// themselves are tested in a virtual machine, by `make test-vm`.
@Suite("Thin pools")
struct ThinPoolTests {
    @Test(
        "A pool that cannot be written to is recognized, and what helps is named",
        arguments: [
            ("7 138/16384 17/32768 - rw no_discard_passdown error_if_no_space - 1024 ", nil, nil),
            ("7 138/16384 17/32768 - rw discard_passdown queue_if_no_space", nil, nil),
            (
                "7 138/16384 17/32768 12 ro discard_passdown error_if_no_space - 1024", "is read-only",
                "activate it writable"
            ),
            (
                "7 138/16384 32768/32768 - rw discard_passdown error_if_no_space - 1024", "is full",
                "extend it"
            ),
            (
                "7 138/16384 32768/32768 - out_of_data_space discard_passdown error_if_no_space - 1024",
                "is full", "extend it"
            ),
            (
                "7 138/16384 17/32768 - ro discard_passdown error_if_no_space needs_check 1024",
                "needs a check", "thin_check"
            ),
            ("Fail", "needs a check", "thin_repair"), ("Error", "needs a check", "thin_repair"),
        ] as [(String, String?, String?)])
    func faults(text: String, reason: String?, remedy: String?) throws {
        let status = try #require(ThinPool.Status(text))
        #expect(status.fault?.reason == reason)
        #expect(status.fault.map { $0.remedy.contains(remedy ?? "-") } == remedy.map { _ in true })
    }

    @Test("The transaction and the blocks of data are read")
    func values() throws {
        let status = try #require(
            ThinPool.Status("18446744073709551615 1/2 3/4 - rw discard_passdown error_if_no_space - 1024"))
        #expect(
            status.transaction == .max && status.used == 3 && status.total == 4 && status.mode == .writable)
    }

    @Test(
        "A status in another form is no status",
        arguments: ["", "1 2/3 4/5 -", "x 1/2 3/4 - rw", "1 1/2 3 - rw", "1 1/2 3/4 - sleeping"])
    func malformed(text: String) { #expect(ThinPool.Status(text) == nil) }
}
