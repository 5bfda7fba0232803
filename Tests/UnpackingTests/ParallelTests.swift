import Kernel
import Layout
import Logging
import OCI
import Snapshots
import Streams
import SystemPackage
import TestSupport
import Testing
import Unpacking

@Suite(
    "Layers in parallel",
    .enabled(if: TestEnvironment.canApplyLayers, "no directory that supports all metadata"))
struct ParallelTests {
    private let scratch: TemporaryDirectory
    private let builder: ImageBuilder

    init() throws {
        Process.setUp()
        scratch = try TemporaryDirectory(in: try #require(TestEnvironment.scratch))
        builder = try ImageBuilder(at: scratch.path.appending("layout"))
    }

    /// The lowest first; only the lowest has an entry for `d/`.
    private static let layers = [
        LayerBuilder(.directory("d", mode: 0o1777), .file("a", "1"), .symlink("l", to: "d")),
        LayerBuilder(.file("d/b", "2"), .whiteout("a"), .file("l/through", "2")),
        LayerBuilder(.file("d/c", "3"), .hardLink("h", to: "d/b")),
        LayerBuilder(.file("d/e", "4"), .opaque("d")),
    ]

    private func unpack(
        _ layers: [LayerBuilder], jobs: Int, store: String = "store",
        onEvent: @escaping @Sendable (UnpackEvent) -> Void = { _ in }
    ) throws -> UnpackResult {
        try builder.writeIndex([try builder.image(layers)])
        let request = UnpackRequest(
            image: ImageSource(builder.path), selector: Selector(), root: scratch.path.appending(store),
            snapshotter: "overlayfs", durability: .none, writableKey: nil, jobs: jobs)
        return try Unpacker(
            request, cancellation: Cancellation(), logger: Logger(label: "test"), onEvent: onEvent
        ).run()
    }

    /// Dumps the directory of each layer, rather than the merged tree, in which upper layers hide lower ones.
    private func dumps(_ result: UnpackResult) throws -> [TreeDump] {
        try result.layers.map { try TreeDump(of: try Directory(opening: $0.path)) }
    }

    @Test("Two layers are unpacked at the same time")
    func atOnce() throws {
        let second = Promise<Bool>()
        let hasMet = Locked(false)
        _ = try unpack(Self.layers, jobs: 2) { event in
            switch event {
            case .started(let step) where step.number == 1:
                let found = second.wait()
                hasMet.withLock { $0 = found }
            case .started(let step) where step.number == 2: second.fulfil(true)
            default: break
            }
        }
        #expect(hasMet.withLock { $0 })
    }

    @Test("No more layers are read at the same time than there are jobs", arguments: [1, 2, 3])
    func bounded(jobs: Int) throws {
        let layers = (1...12).map { LayerBuilder(.file(Bytes("f\($0)"), Bytes.noise(100_000))) }
        let reading = Locked((now: Set<Int>(), most: 0))
        _ = try unpack(layers, jobs: jobs) { event in
            switch event {
            case .started(let step):
                reading.withLock {
                    $0.now.insert(step.number)
                    $0.most = max($0.most, $0.now.count)
                }
            // The whole blob has been read. It is verified before its permit is released to another layer.
            case .progressed(let step, let bytes) where bytes == step.descriptor.size:
                reading.withLock { _ = $0.now.remove(step.number) }
            default: break
            }
        }
        #expect(reading.withLock { $0.most } <= jobs)
    }

    @Test("The directories of the layers do not depend on the number of jobs or on an earlier run")
    func same() throws {
        let one = try dumps(try unpack(Self.layers, jobs: 1, store: "one"))
        for _ in 1...5 {
            let store = "four-\(UInt32.random(in: .min ... .max))"
            let four = try unpack(Self.layers, jobs: 4, store: store)
            #expect(try dumps(four) == one)
            let folders = four.layers.map { $0.path.removingLastComponent().lastComponent?.string }
            #expect(folders == ["1", "2", "3", "4"])
        }
        _ = try unpack(Array(Self.layers.prefix(2)), jobs: 1, store: "half")
        #expect(try dumps(try unpack(Self.layers, jobs: 4, store: "half")) == one)
        #expect(try dumps(try unpack(Self.layers, jobs: 4, store: "half")) == one)
    }

    @Test(
        "A layer that two images share can be used as soon as it is committed"
    )
    func shared() throws {
        let isShared = Promise<Bool>()
        let other = try ImageBuilder(at: scratch.path.appending("other"))
        try other.writeIndex([try other.image([Self.layers[0], LayerBuilder(.file("other"))])])
        let request = UnpackRequest(
            image: ImageSource(other.path), selector: Selector(), root: scratch.path.appending("store"),
            snapshotter: "overlayfs", durability: .none, writableKey: nil)
        let hasWaited = Promise<Bool>()
        let cancellation = Cancellation()
        let watchdog = try WorkerThread {
            for _ in 1...1000 where isShared.value == nil { Process.sleep(milliseconds: 20) }
            cancellation.cancel(signal: 14)
        }
        let second = Locked<WorkerThread<UnpackResult>?>(nil)
        _ = try unpack(Array(Self.layers.prefix(2)), jobs: 2) { event in
            switch event {
            case .started(let step) where step.number == 1:
                let thread = try? WorkerThread {
                    defer { isShared.fulfil(true) }
                    return try Unpacker(request, cancellation: cancellation, logger: Logger(label: "test")) {
                        if case .waiting = $0 { hasWaited.fulfil(true) }
                    }.run()
                }
                second.withLock { $0 = thread }
                _ = hasWaited.wait()
            case .started(let step) where step.number == 2: _ = isShared.wait()
            default: break
            }
        }
        try watchdog.join()
        let result = try second.withLock { $0 }?.join()
        #expect(result?.layers.count == 2)
    }

    @Test(
        "The largest layer is started early, and the snapshots are still created in the order of the layers")
    func largestEarly() throws {
        let layers = (1...6).map {
            LayerBuilder(.file(Bytes("f\($0)"), Bytes.noise($0 == 5 ? 300_000 : 1000)))
        }
        let order = Locked([Int]())
        let hasBegun = Promise<Bool>()
        let result = try unpack(layers, jobs: 2) { event in
            guard case .started(let step) = event else { return }
            order.withLock { $0.append(step.number) }
            if step.number == 5 { hasBegun.fulfil(true) }
            // Waits, so that the second layer to start is known.
            if step.number == 1 { _ = hasBegun.wait() }
        }
        #expect(order.withLock { Set($0.prefix(2)) } == [1, 5])
        let folders = result.layers.map { $0.path.removingLastComponent().lastComponent?.string }
        #expect(folders == ["1", "2", "3", "4", "5", "6"])
    }

    @Test(
        "Layers that wait for the layers below while they are read cause no deadlock",
        .timeLimit(.minutes(2)),
        arguments: [1, 2, 3, 8])
    func noDeadlock(jobs: Int) throws {
        // Each layer needs the one below for its first entry. The higher ones are larger, so that they start first.
        let layers = (1...8).map { number in
            let link: [TarEntry] = number == 1 ? [] : [.hardLink("h\(number)", to: Bytes("f\(number - 1)"))]
            return LayerBuilder(link + [.file(Bytes("f\(number)"), Bytes.noise(number * 2000))])
        }
        let expected = try dumps(try unpack(layers, jobs: 1, store: "one"))
        for round in 1...3 {
            #expect(try dumps(try unpack(layers, jobs: jobs, store: "store-\(round)")) == expected)
        }
    }

    @Test("A layer ends when a layer below it fails, even if it was started first", arguments: [2, 3])
    func failsBelow(jobs: Int) throws {
        let broken = LayerBuilder(.file(".wh."))
        let large = LayerBuilder(.file("large", Bytes.noise(3_000_000)))
        let error = #expect(throws: UnpackError.self) {
            try unpack([Self.layers[0], broken, Self.layers[1], large], jobs: jobs)
        }
        #expect(error?.message.hasPrefix("layer 2 of 4 ") == true, "\(error?.message ?? "")")
        #expect(try Directory(opening: scratch.path.appending("store/overlayfs")).names().count == 1)
    }

    @Test("The error is that of the lowest layer that fails; the layers below it stay, those above do not")
    func failure() throws {
        let broken = LayerBuilder(.file("x"), .file(".wh."))
        for jobs in [1, 4] {
            let error = #expect(throws: UnpackError.self) {
                try unpack(
                    [Self.layers[0], Self.layers[1], broken, Self.layers[2], broken], jobs: jobs,
                    store: "store-\(jobs)")
            }
            #expect(error?.code == .data)
            #expect(error?.message.hasPrefix("layer 3 of 5 ") == true, "\(error?.message ?? "")")
            let store = try Directory(opening: scratch.path.appending("store-\(jobs)/overlayfs"))
            #expect(try store.names().count == 2)
        }
    }
}
