import Kernel
import Testing

@Suite("Privileges of a process") struct PrivilegesTests {
    private static let whole = "         0          0 4294967295\n"

    private func privileges(
        _ map: String, capabilities: String = "000001ffffffffff", namespace: String? = nil
    ) -> Privileges {
        Privileges(
            userMap: map, groupMap: map, status: "Name:\tx\nCapEff:\t\(capabilities)\nSeccomp:\t0\n",
            namespace: namespace)
    }

    @Test("The initial namespace maps every ID, and allows trusted attributes with CAP_SYS_ADMIN")
    func initial() {
        let root = privileges(Self.whole)
        #expect(root.isInitialNamespace && root.hasTrustedAttributes && root.canMount)
        #expect(root.canOwn(uid: 4_000_000_000, gid: 7))
        #expect(privileges(Self.whole, namespace: "user:[4026531837]").isInitialNamespace)
        let another = privileges(Self.whole, namespace: "user:[4026532000]")
        #expect(
            !another.isInitialNamespace && !another.hasTrustedAttributes && another.canOwn(uid: 5, gid: 6))
        let contained = privileges(Self.whole, capabilities: "00000000a80425fb")
        #expect(contained.isInitialNamespace && !contained.hasTrustedAttributes && !contained.canMount)
    }

    @Test(
        "A user namespace can own files as the IDs of its map",
        arguments: [
            (0, true), (1, true), (65536, true), (65537, false), (100_000, true), (100_009, true),
            (100_010, false),
        ] as [(UInt32, Bool)])
    func mapped(id: UInt32, isMapped: Bool) {
        let mapped = privileges("0 1000 1\n1 200000 65536\n100000 7 10\n")
        #expect(!mapped.isInitialNamespace && !mapped.hasTrustedAttributes && mapped.canMount)
        #expect(mapped.canOwn(uid: id, gid: 0) == isMapped)
        #expect(mapped.canOwn(uid: 0, gid: id) == isMapped)
        #expect(mapped.idCount == 65547)
        #expect(privileges("0 1000 1\n").canOwn(uid: id, gid: id) == (id == 0))
    }

    @Test(
        "An owner is encoded as PRoot and umoci do",
        arguments: [
            (1000, 100, [0x08, 0xE8, 0x07, 0x10, 0x64]), (0, 0, []), (0, 5, [0x10, 0x05]),
            (127, 0, [0x08, 0x7F]),
            (4_294_967_294, 128, [0x08, 0xFE, 0xFF, 0xFF, 0xFF, 0x0F, 0x10, 0x80, 0x01]),
        ] as [(UInt32, UInt32, [UInt8])])
    func owners(uid: UInt32, gid: UInt32, bytes: [UInt8]) {
        let owner = FileOwner(uid: uid, gid: gid)
        #expect(owner.encoded == bytes)
        #expect(FileOwner(bytes) == owner)
    }

    @Test(
        "A malformed owner message is rejected",
        arguments: [[0x08], [0x18, 1], [0x08, 0xFF, 0xFF, 0xFF, 0xFF, 0x7F], [0x08, 0x80], [1]] as [[UInt8]])
    func malformed(bytes: [UInt8]) { #expect(FileOwner(bytes) == nil) }

    @Test("Subordinate IDs are found by user name or number")
    func subordinate() {
        let text = "other:1:2\nann:100000:65536\n1000:300000:10\nann:x:1\nann:5\nann:7:0\n"
        #expect(
            SubordinateIDs.ranges(text, of: "ann", 1000) == [
                .init(first: 100_000, count: 65536), .init(first: 300_000, count: 10),
            ])
        #expect(SubordinateIDs.ranges(text, of: nil, 1).isEmpty)
    }
}
