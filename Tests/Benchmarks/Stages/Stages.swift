import Archive
import Benchmark
import Compression
import Foundation
import Kernel
import Layers
import Layout
import OCI
import Streams
import SystemPackage
import TestSupport

/// Benchmarks of the stages of unpacking a layer, separately and together. Divide 64 MiB by the time to compare
/// stages.
let benchmarks: @Sendable () -> Void = {
    Kernel.Process.setUp()
    Benchmark.defaultConfiguration = .init(
        metrics: [.wallClock, .cpuTotal], warmupIterations: 2, maxDuration: .seconds(5), maxIterations: 50)

    Benchmark("gzip, 64 MiB") { try measure($0, try Sample.mixed.gzip, inflate) }
    Benchmark("zstd, 64 MiB") { try measure($0, try Sample.mixed.zstd, inflate) }
    Benchmark("SHA-256, 64 MiB") { try measure($0, try Sample.mixed.tar, digest) }
    Benchmark("tar, 64 MiB") { try measure($0, try Sample.mixed.tar, list) }
    Benchmark("tar, 10,000 small files") { try measure($0, try Sample.small.tar, list) }
    Benchmark("a layer, 64 MiB") { try apply($0, try Sample.mixed) }
    Benchmark("a layer, 10,000 small files") { try apply($0, try Sample.small) }
}

/// Measures one stage, without the preparation of its input.
private func measure(
    _ benchmark: Benchmark, _ bytes: @autoclosure () throws -> [UInt8], _ stage: ([UInt8]) throws -> Void
) throws {
    let bytes = try bytes()
    benchmark.startMeasurement()
    try stage(bytes)
    benchmark.stopMeasurement()
}

private func inflate(_ blob: [UInt8]) throws { blackHole(try Sample.inflate(blob) { _ in }) }

private func digest(_ tar: [UInt8]) {
    var digester = Digester(.sha256)
    digester.update(tar)
    blackHole(digester.finish())
}

/// Reads an archive with all of its data, through a ring filled by a second thread.
private func list(_ tar: [UInt8]) throws {
    let ring = BlockRing(readers: 1)
    let filling = try WorkerThread {
        var rest = tar[...]
        while !rest.isEmpty {
            let isOpen = ring.produce { block in
                let piece = rest.prefix(block.byteCount)
                block.withUnsafeMutableBytes { $0.copyBytes(from: piece) }
                rest = rest.dropFirst(piece.count)
                return piece.count
            }
            guard isOpen else { return }
        }
        ring.finish()
    }
    var reader = try LayerReader(ring, reader: 0)
    while let entry = try reader.next() {
        blackHole(entry)
        while try reader.nextData({ (_: Int64, bytes: RawSpan) in blackHole(bytes.byteCount) }) {}
    }
    try reader.finish()
    try filling.join()
}

/// Measures the whole pipeline, including both digests, into a directory in memory.
private func apply(_ benchmark: Benchmark, _ sample: Sample) throws {
    let folder = try Directory(opening: "/dev/shm")
    let name = FileName(literal: "unpack-benchmark")
    if try folder.status(of: name) != nil { try folder.removeTree(name) }
    try folder.makeDirectory(name, mode: 0o700)
    let target = try folder.open(name)
    let pipeline = LayerPipeline(
        sample.layout, form: .device, budget: Budget(), cancellation: Cancellation())
    benchmark.startMeasurement()
    blackHole(try pipeline.apply(sample.step, to: target, over: Promise(LowerView([]))))
    benchmark.stopMeasurement()
    try folder.removeTree(name)
}
