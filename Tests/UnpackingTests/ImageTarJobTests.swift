import Kernel
import Layout
import OCI
import Streams
import SystemPackage
import TestSupport
import Testing
import Unpacking

@Suite("Writing an image as one tar")
struct ImageTarJobTests {
    private let scratch: TemporaryDirectory
    private let opened: OpenedImage
    private let size = 3_000_000

    init() throws {
        scratch = try TemporaryDirectory()
        let builder = try ImageBuilder(at: scratch.path.appending("i"))
        let content = Bytes((0..<size).map { UInt8(truncatingIfNeeded: $0 / 7) })
        let manifest = try builder.image([
            LayerBuilder(.file("a", content), .file("gone", content)),
            LayerBuilder(.file(".wh.gone"), .file("b", "2").xattr("trusted.a", "1")),
            LayerBuilder(.directory("only/a/directory")),
        ])
        let layout = try ImageLayout(opening: builder.path)
        opened = OpenedImage(layout: layout, image: try layout.load(manifest))
    }

    private final class Log: @unchecked Sendable {
        var events = [String]()
        var bytes = 0
        var digester = Digester(.sha256)
    }

    private func job(
        _ log: Log, cancellation: Cancellation = Cancellation(),
        limits: UnpackRequest.Limits = UnpackRequest.Limits()
    ) -> ImageTarJob {
        ImageTarJob(opened, limits: limits, cancellation: cancellation) { event in
            switch event {
            case .receiving: log.events.append("receiving")
            case .planned(let steps, _): log.events.append("planned \(steps.map(\.number))")
            case .started(let step): log.events.append("started \(step.number)")
            case .read(let step): log.events.append("read \(step.number)")
            case .warned(let step, _): log.events.append("warned \(step.number)")
            case .progressed, .committed, .syncing, .waiting: break
            }
        }
    }

    @Test("All layers are read before the first byte is written, and those with visible content once more")
    func events() throws {
        let log = Log()
        let warnings = try job(log).run { bytes in
            if log.bytes == 0 { log.events.append("written") }
            log.bytes += bytes.byteCount
            log.digester.update(bytes)
        }
        #expect(
            log.events == [
                "planned [1, 2, 3, 1, 2, 3]", "started 1", "read 1", "started 2", "warned 2", "read 2",
                "started 3",
                "read 3", "started 1", "written", "read 1", "started 2", "read 2",
            ])
        #expect(warnings.count == 1 && warnings[0].contains("trusted.a"))
        #expect(log.bytes > size && log.bytes < size + 20_000 && log.bytes % 512 == 0)
        let again = Log()
        _ = try job(again).run { again.digester.update($0) }
        #expect(again.digester.finish() == log.digester.finish())
    }

    @Test("A failure to write the tar is reported without naming a layer")
    func failure() throws {
        let full = try File.open("/dev/full", .readWrite)
        let output = OutputFile(full)
        let error = #expect(throws: UnpackError.self) { () throws in
            _ = try job(Log()).run { try output.write($0) }
        }
        #expect(error?.code == .io)
        #expect(error?.message.hasPrefix("cannot write the tar: write") == true, "\(error?.message ?? "")")
    }

    @Test("Cancellation ends either pass before the next piece of data")
    func cancelled() throws {
        let cancellation = Cancellation()
        let log = Log()
        let error = #expect(throws: UnpackError.self) { () throws in
            _ = try job(log, cancellation: cancellation).run { bytes in
                log.bytes += bytes.byteCount
                cancellation.cancel(signal: 15)
            }
        }
        #expect(error?.code == .interrupted(15))
        #expect(log.bytes < size)
        let early = Log()
        let other = #expect(throws: UnpackError.self) { () throws in
            _ = try job(early, cancellation: cancellation).run { early.bytes += $0.byteCount }
        }
        #expect(other?.code == .interrupted(15) && early.bytes == 0)
    }

    @Test("An image that exceeds a limit is refused before the first byte is written")
    func limits() throws {
        for limits in [
            UnpackRequest.Limits(bytes: 1_000_000), UnpackRequest.Limits(entries: 3),
            UnpackRequest.Limits(ratio: 0),
        ] {
            let log = Log()
            let error = #expect(throws: UnpackError.self) { () throws in
                _ = try job(log, limits: limits).run { log.bytes += $0.byteCount }
            }
            #expect(error?.code == .data && log.bytes == 0)
        }
    }
}
