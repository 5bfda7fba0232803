import Kernel
import OCI
import SystemPackage
import TestSupport
import Testing
import TreeRecords

@Suite(
    "Attributes in records of trees",
    .enabled(if: TestEnvironment.canApplyLayers, "no place for device nodes"))
struct RecordAttributeTests {
    @Test(
        "Recorded attributes of the kernel are ignored, those of files are compared"
    )
    func kernelAttributes() throws {
        let scratch = try RecordScratch()
        try scratch.tree.fill()
        try scratch.write()
        let record = try scratch.text
        func compare(_ attributes: String) throws -> [String] {
            let line = try #require(record.split(separator: "\n").first { $0.hasPrefix("./dir/file ") })
            try scratch.replaceRecord(record.replacing(line, with: line + attributes))
            return try scratch.compare()
        }
        let kernels = [
            "trusted.SGI_ACL_FILE=AAAABA==", "trusted.SGI_ACL_DEFAULT=", "btrfs.compression=enN0ZA==",
            "system.nfs4_acl=AA==", "security.ima=BAQJ", "security.evm=AgA=",
        ]
        for attribute in kernels { #expect(try compare(" xattr." + attribute) == [], "\(attribute)") }
        for attribute in ["user.gone=AQ==", "security.ima=AwI=", "trusted.x=", "security.evm=BQ=="] {
            #expect(try compare(" xattr." + attribute).count == 1, "\(attribute)")
        }
    }

    @Test(
        "The same tree has the same record on every file system",
        .enabled(
            if: TestEnvironment.canMountXFS && TestEnvironment.canMountBtrfs && TestEnvironment.has("setfacl")
        ))
    func sameRecord() throws {
        let digests = try [TestFileSystem.tmpfs, .xfs, .btrfs].map { system in
            try system.with { place in
                if system == .btrfs {
                    try Command.run("btrfs", "property", "set", place.string, "compression", "zstd").succeed()
                }
                let scratch = try RecordScratch(in: place)
                try scratch.tree.fill()
                try Command.run(
                    "sh", "-ec",
                    "setfacl -m u:9:rwx,d:u:9:rwx dir; setfacl -m u:9:r dir/file; touch -d @9 dir .",
                    in: scratch.path
                ).succeed()
                return try scratch.write()
            }
        }
        #expect(Set(digests).count == 1)
    }
}
