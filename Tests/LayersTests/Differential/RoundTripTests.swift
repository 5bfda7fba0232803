import Archive
import Foundation
import Kernel
import Layers
import Layout
import OCI
import SystemPackage
import TestSupport
import Testing

/// Writes a layer into memory.
func makeLayer(
    from old: LowerView, to new: LowerView, as mediaType: MediaType = .ociLayer(compression: nil),
    latest: Timestamp? = nil, walksOnlyAddedLayers: Bool = true
) throws -> (layer: WrittenLayer, blob: [UInt8]) {
    var blob = [UInt8]()
    let layer = try LayerWriter.write(
        from: old, to: new, as: mediaType, latest: latest, walksOnlyAddedLayers: walksOnlyAddedLayers,
        cancellation: Cancellation()
    ) { $0.withUnsafeBytes { blob += $0 } }
    return (layer, blob)
}

/// A blob in memory.
struct MemoryBlob: BlobSource, BlobStream {
    let bytes: [UInt8]

    func open(_ descriptor: Descriptor) throws(LayoutFailure) -> VerifiedBlob {
        VerifiedBlob(descriptor, from: self)
    }

    func read(into buffer: inout [UInt8], limit: Int, at position: Int64) throws(LayoutFailure) {
        buffer = Array(bytes[Int(position)...].prefix(limit))
    }
}

@Suite(
    "Layers written from trees",
    .enabled(
        if: TestEnvironment.canApplyLayers && TestEnvironment.canMountOverlay,
        "no directory that supports all metadata, or no overlay mounts"))
struct RoundTripTests {
    private static let rounds =
        ProcessInfo.processInfo.environment["UNPACK_DIFFERENTIAL_ROUNDS"].flatMap(UInt64.init) ?? 150

    @Test("Layers written between the trees of random layers lead from one to the other")
    func roundTrip() throws {
        for seed in 1...Self.rounds {
            let layers = LayerGenerator.stack(seed: seed)
            guard (try? MergedModel(layers)) != nil else { continue }
            do {
                let stack = try Stack(layers)
                for split in 0...layers.count {
                    try check(stack, from: split, to: layers.count, "seed \(seed)")
                    // The tree of no layers has no root, so that no layer can lead to it.
                    if split > 0 { try check(stack, from: layers.count, to: split, "seed \(seed), back") }
                }
            } catch {
                Issue.record("seed \(seed): \(error)\n\(source(of: layers))")
            }
        }
    }

    /// Checks the layer between two trees.
    ///
    /// - Parameters:
    ///   - old: number of layers of the old tree, from the lowest one.
    ///   - new: number of layers of the new tree.
    private func check(_ stack: Stack, from old: Int, to new: Int, _ what: String) throws {
        let (oldView, newView) = (try stack.view(old), try stack.view(new))
        let (layer, blob) = try makeLayer(from: oldView, to: newView)
        let long = try makeLayer(from: oldView, to: newView, walksOnlyAddedLayers: false)
        #expect(long.blob == blob, "\(what), \(old) to \(new): walksOnlyAddedLayers gives another layer")
        #expect(layer.content.diffID == DiffID(sha256(of: blob)))
        let expected = try stack.merged(of: new)

        let upper = try stack.temporary.makeDirectory("made")
        defer { try? Directory(opening: stack.temporary.path).removeTree(FileName(literal: "made")) }
        let lowers = try stack.directories(old)
        let target: LayerTarget =
            lowers.isEmpty
            ? .tree(try Directory(opening: upper)) : .upper(try Directory(opening: upper), over: lowers)
        let pipeline = LayerPipeline(
            MemoryBlob(bytes: blob), form: .device, budget: Budget(), cancellation: Cancellation())
        let found = try pipeline.apply(layer.descriptor, onto: target)
        #expect(found.content.diffID == layer.content.diffID)
        let shown = try stack.merged(of: old, below: upper)
        #expect(
            shown.lines == expected.lines,
            "\(what), \(old) to \(new):\n\(difference(shown, expected))")
    }

    private func difference(_ shown: TreeDump, _ expected: TreeDump) -> String {
        let (a, b) = (Set(shown.lines), Set(expected.lines))
        return
            (shown.lines.filter { !b.contains($0) }.map { "is  \($0)" }
            + expected.lines.filter { !a.contains($0) }.map { "not \($0)" }).joined(separator: "\n")
    }
}

extension Stack {
    /// The lowest `count` layers, topmost first.
    fileprivate func directories(_ count: Int) throws -> [Directory] {
        try layers.prefix(count).reversed().map { try Directory(opening: $0) }
    }

    fileprivate func view(_ count: Int) throws -> LowerView { LowerView(try directories(count)) }

    fileprivate func merged(of count: Int, below top: FilePath? = nil) throws -> TreeDump {
        let paths = (top.map { [$0] } ?? []) + layers.prefix(count).reversed()
        switch paths.count {
        case 0:
            let nothing = try temporary.makeDirectory("nothing")
            return try TreeDump(of: Directory(opening: nothing))
        case 1: return try TreeDump(of: Directory(opening: paths[0]))
        default:
            let target = try temporary.makeDirectory("merged")
            try MountCalls.overlay(
                options: "lowerdir=" + paths.map(\.string).joined(separator: ":"),
                from: try Directory(opening: temporary.path), on: target, readOnly: true)
            let dump = Result { try TreeDump(of: Directory(opening: target)) }
            try unmountWhenFree(target)
            return try dump.get()
        }
    }
}
