import Compression
import Foundation
import Kernel
import Layout
import OCI
import SystemPackage
import TestSupport

/// An image with one gzip layer, made by `Fixtures/make-scale.sh` in the directory in `UNPACK_BENCHMARK_IMAGES`.
struct Sample: Sendable {
    static var mixed: Sample { get throws { try mixedResult.get() } }
    static var small: Sample { get throws { try smallResult.get() } }

    private static let mixedResult = Result { try Sample("mixed-64") }
    private static let smallResult = Result { try Sample("small-10000") }

    let layout: ImageLayout
    let step: LayerStep
    let gzip: [UInt8]
    let zstd: [UInt8]
    let tar: [UInt8]

    private init(_ name: String) throws {
        let folder =
            ProcessInfo.processInfo.environment["UNPACK_BENCHMARK_IMAGES"] ?? "/var/tmp/unpack-bench/scale"
        layout = try ImageLayout(opening: FilePath(folder).appending(name))
        step = try layout.load(try layout.select(Selector()).descriptor).steps[0]
        gzip = Array(try Data(contentsOf: URL(fileURLWithPath: path(of: step.descriptor.digest, in: layout))))
        var tar = [UInt8]()
        try Self.inflate(gzip) { tar += $0 }
        self.tar = tar
        zstd = try Command.run("zstd", "-cq", input: tar).succeed().output
    }

    /// Decompresses a blob and lends the bytes of its tar to `body`, 1 MiB at a time.
    static func inflate(_ blob: [UInt8], _ body: (ArraySlice<UInt8>) -> Void) throws {
        let input = blob.span.bytes
        var decompressor = try Decompressor(try CompressionFormat(sniffing: input))
        var block = [UInt8](repeating: 0, count: 1 << 20)
        var consumed = 0
        var step: Decompressor.Step
        repeat {
            var span = block.mutableSpan
            var output = span.mutableBytes
            step = try decompressor.step(input.extracting(consumed...), into: &output, at: 0)
            consumed += step.consumed
            body(block[..<step.produced])
        } while consumed < input.byteCount || step.produced == block.count
        try decompressor.finish()
    }
}

private func path(of digest: Digest, in layout: ImageLayout) -> String {
    layout.path.appending("blobs/\(digest.algorithm.rawValue)/\(digest.hex)").string
}
