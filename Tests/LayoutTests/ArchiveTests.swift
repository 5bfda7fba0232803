import Foundation
import Kernel
import Layout
import OCI
import Streams
import SystemPackage
import TestSupport
import Testing

/// How the tar is passed to the program.
private enum Way: String, CaseIterable {
    case inPlace, gzip, zstd, stream
}

@Suite("Images in archives") struct ArchiveTests {
    private let scratch: TemporaryDirectory
    private let layers = [
        LayerBuilder(.file("a", Bytes.noise(300_000))), LayerBuilder(.file("b", "second")),
    ]

    init() throws { scratch = try TemporaryDirectory() }

    private func image() throws -> ImageBuilder {
        let builder = try ImageBuilder(at: scratch.path.appending("layout"))
        try builder.writeIndex([try builder.image(layers).named("one")])
        return builder
    }

    /// Opens a tar of members in one of the ways.
    private func open(
        _ members: [TarEntry], _ way: Way = .inPlace, _ transport: ImageSource.Transport? = nil
    ) throws -> ImageLayout {
        let tar = LayerBuilder(members).tar
        switch way {
        case .inPlace: return try open(file: try scratch.write("x.tar", tar), transport)
        case .gzip: return try open(file: try scratch.write("x.tar.gz", storedGzip(tar)), transport)
        case .zstd: return try open(file: try scratch.write("x.tar.zst", storedZstd(tar)), transport)
        case .stream:
            let pipe = try Pipe(in: scratch)
            let writer = try pipe.writer([tar])
            defer { _ = try? writer.join() }
            return try open(file: pipe.path, transport)
        }
    }

    private func open(file: FilePath, _ transport: ImageSource.Transport?) throws -> ImageLayout {
        try ImageLayout(opening: ImageSource(file, transport), in: scratch.path)
    }

    /// All bytes of all layers, verified.
    private func contents(_ layout: ImageLayout, _ selector: Selector = Selector()) throws -> [[UInt8]] {
        try layout.load(try layout.select(selector).descriptor).steps.map { step in
            try layout.check(step.descriptor)
            var blob = try layout.open(step.descriptor)
            var bytes = [UInt8]()
            var chunk = [UInt8]()
            repeat {
                try blob.read(into: &chunk, limit: 7000)
                bytes += chunk
            } while !chunk.isEmpty
            try blob.finish()
            return bytes
        }
    }

    @Test(
        "A layout has the same content in a directory and in a tar, however the tar is passed",
        arguments: Way.allCases
    )
    fileprivate func sameBytes(way: Way) throws {
        let builder = try image()
        let expected = try contents(try ImageLayout(opening: builder.path))
        let layout = try open(try builder.members(), way)
        #expect(try contents(layout) == expected)
        #expect(try contents(layout, Selector(reference: "one")) == expected)
        try layout.finish()
    }

    @Test("Members may be named ./x, and other members are ignored")
    func names() throws {
        let builder = try image()
        let expected = try contents(try ImageLayout(opening: builder.path))
        var members = try builder.members().map { member in
            var member = member
            member.path = "./" + member.path
            return member
        }
        members.insert(.file("./README", "…"), at: 0)
        members.insert(.file([0xFF, 0xFE], "no UTF-8"), at: 0)
        #expect(try contents(try open(members)) == expected)
    }

    @Test("Links in an archive are followed, but not out of it")
    func links() throws {
        let builder = try image()
        let expected = try contents(try ImageLayout(opening: builder.path))
        var members = try builder.members()
        let place = try #require(
            members.firstIndex { $0.path.description.hasPrefix("blobs/sha256/") && $0.type == 0x30 })
        let name = members[place].path
        members[place].path = "kept/blob"
        var symlinked = members
        symlinked.append(.symlink(name, to: "../../kept/blob"))
        #expect(try contents(try open(symlinked)) == expected)
        members.append(.hardLink(name, to: "kept/blob"))
        #expect(try contents(try open(members)) == expected)
        members.removeLast()
        members.append(
            .symlink(name, to: name.description.hasSuffix("x") ? "" : Bytes("../../" + name.description)))
        let loop = #expect(throws: LayoutFailure.self) { _ = try contents(try open(members)) }
        #expect(kind(loop) == "unreadable")
    }

    @Test("An invalid archive is reported with its failure", arguments: Way.allCases)
    fileprivate func wrong(way: Way) throws {
        let members = try image().members()
        func failure(_ members: [TarEntry], _ transport: ImageSource.Transport? = nil) -> String {
            kind(#expect(throws: LayoutFailure.self) { _ = try contents(try open(members, way, transport)) })
        }
        #expect(failure(members.filter { $0.path != "index.json" }) == "notALayout")
        #expect(failure(members.filter { $0.path != "oci-layout" }) == "notALayout")
        #expect(failure(members.filter { !$0.path.description.hasPrefix("blobs/") }) == "blobMissing")
        if way != .inPlace { return }
        let index = try #require(members.first { $0.path == "index.json" })
        #expect(failure(members + [index]) == "notALayout")
        #expect(failure(members + [.directory("index.json/")]) == "notALayout")
    }

    @Test("An archive that is truncated anywhere is rejected", arguments: Way.allCases)
    fileprivate func cut(way: Way) throws {
        let tar = LayerBuilder(try image().members()).tar
        for count in [1, 511, 513, 1500, tar.count / 3, tar.count / 2, tar.count - 3000] {
            let piece = Array(tar[..<count])
            let file: FilePath
            switch way {
            case .inPlace: file = try scratch.write("cut.tar", piece)
            case .gzip: file = try scratch.write("cut.tar", Array(storedGzip(tar)[..<count]))
            case .zstd: file = try scratch.write("cut.tar", Array(storedZstd(tar)[..<count]))
            case .stream:
                let pipe = try Pipe(in: scratch)
                let writer = try pipe.writer([piece])
                defer { _ = try? writer.join() }
                let failure = #expect(throws: LayoutFailure.self) {
                    _ = try contents(try open(file: pipe.path, nil))
                }
                #expect(
                    ["unreadable", "notALayout"].contains(kind(failure)),
                    "\(count): \(String(describing: failure))")
                continue
            }
            let failure = #expect(throws: LayoutFailure.self) { _ = try contents(try open(file: file, nil)) }
            #expect(
                ["unreadable", "notALayout"].contains(kind(failure)),
                "\(count): \(String(describing: failure))")
        }
    }

    @Test(
        "Impossible sizes are rejected, also if their sum overflows", arguments: Way.allCases,
        [Int64.max, .max - 512, .max - 1024, .max - 2048, 1 << 62, (1 << 60) + 1] as [Int64])
    fileprivate func absurd(way: Way, size: Int64) throws {
        for place in [0, 1] {
            var members = try image().members()
            members.insert(.file("huge").withSize(size), at: place == 0 ? 0 : members.count)
            try FileManager.default.removeItem(atPath: scratch.path.appending("layout").string)
            let failure = #expect(throws: LayoutFailure.self) { _ = try contents(try open(members, way)) }
            #expect(["unreadable", "notALayout"].contains(kind(failure)))
        }
    }

    @Test("A sparse member is rejected, even without holes")
    func sparse() throws {
        let builder = try image()
        let members = try builder.members().map { member in
            guard member.path == "index.json" else { return member }
            let map = "1\n0\n\(member.contents.array.count)\n"
            var sparse = TarEntry.file(
                "index.json", Bytes(TarEntry.padded(Array(map.utf8)) + member.contents.array))
            sparse.records = [
                ("GNU.sparse.major", "1"), ("GNU.sparse.minor", "0"), ("GNU.sparse.name", "index.json"),
                ("GNU.sparse.realsize", Bytes("\(member.contents.array.count)")),
            ]
            return sparse
        }
        let failure = #expect(throws: LayoutFailure.self) { try open(members) }
        #expect(kind(failure) == "unreadable")
    }

    // MARK: Streams

    @Test("A duplicate document at the end of a stream is detected")
    func lateRepetition() throws {
        let members = try image().members()
        let pipe = try Pipe(in: scratch)
        let index = try #require(members.first { $0.path == "index.json" })
        let large = TarEntry.file("padding", Bytes.noise(3_000_000))
        let writer = try pipe.writer([LayerBuilder(members + [large, index]).tar])
        defer { _ = try? writer.join() }
        // Either of the calls may find the duplicate first.
        let failure = #expect(throws: LayoutFailure.self) {
            let layout = try open(file: pipe.path, nil)
            _ = try contents(layout)
            try layout.finish()
        }
        #expect(kind(failure) == "notALayout")
    }

    @Test("If the documents come first, a layer is read before the archive has ended")
    func early() throws {
        let builder = try image()
        let expected = try contents(try ImageLayout(opening: builder.path))
        let layout = try ImageLayout(opening: builder.path)
        let steps = try layout.load(try layout.select(Selector()).descriptor).steps
        let large = Bytes("blobs/sha256/\(steps[0].descriptor.digest.hex)")
        let members = try builder.members()
        let rest = members.filter {
            $0.path == large || $0.path.description.hasSuffix(steps[1].descriptor.digest.hex)
        }
        let first = members.filter { member in !rest.contains { $0.path == member.path } }
        let pipe = try Pipe(in: scratch)
        let gate = Promise<Void>()
        let writer = try WorkerThread { [tar = LayerBuilder(first + rest).tar] in
            let file = try FileHandle(forWritingTo: URL(fileURLWithPath: pipe.path.string))
            // Everything except the last bytes of the layers.
            let most = tar.count - 200_000
            try file.write(contentsOf: tar[..<most])
            gate.wait()
            try file.write(contentsOf: tar[most...])
            try file.close()
        }
        let streamed = try ImageLayout(opening: ImageSource(pipe.path), in: scratch.path)
        let image = try streamed.load(try streamed.select(Selector()).descriptor)
        for step in image.steps { try streamed.check(step.descriptor) }
        let step = try #require(image.steps.first { $0.descriptor.size > 1000 })
        var blob = try streamed.open(step.descriptor)
        var bytes = [UInt8]()
        try blob.read(into: &bytes, limit: 1000)
        #expect(bytes.count > 0)
        gate.fulfil(())
        #expect(try contents(streamed) == expected)
        try streamed.finish()
        try writer.join()
    }

    @Test("A cancellation ends the wait for a stream")
    func cancelled() throws {
        let pipe = try Pipe(in: scratch)
        let gate = Promise<Void>()
        let writer = try WorkerThread { [tar = LayerBuilder([.file("blobs/sha256/x", "…")]).tar] in
            let file = try FileHandle(forWritingTo: URL(fileURLWithPath: pipe.path.string))
            try file.write(contentsOf: tar[..<1024])
            gate.wait()
        }
        let cancellation = Cancellation()
        let waiting = try WorkerThread { [path = scratch.path] in
            _ = try ImageLayout(opening: ImageSource(pipe.path), in: path, cancellation: cancellation)
        }
        cancellation.cancel(signal: 2)
        let failure = #expect(throws: LayoutFailure.self) { try waiting.join() }
        #expect(kind(failure) == "cancelled")
        gate.fulfil(())
        try writer.join()
    }

    // MARK: docker-archive

    @Test(
        "A docker-archive is an image with the same layers, compressed or not", arguments: Packing.allCases,
        Way.allCases)
    fileprivate func docker(packing: Packing, way: Way) throws {
        let image = DockerArchiveBuilder(["busybox:1.37", "quay.io/x/y:z"], layers, packing)
        let members = image.members + [try DockerArchiveBuilder.manifest([image])]
        for transport in [nil, ImageSource.Transport.dockerArchive] {
            let layout = try open(members, way, transport)
            for name in [nil, "busybox:1.37", "docker.io/library/busybox:1.37", "quay.io/x/y:z"] {
                #expect(
                    try contents(layout, Selector(reference: name)) == layers.map { packing.pack($0.tar) })
            }
            let steps = try layout.load(try layout.select(Selector()).descriptor).steps
            #expect(steps.map(\.diffID) == layers.map(\.diffID))
            #expect(steps.map(\.descriptor.digest) == layers.map { sha256(of: packing.pack($0.tar)) })
            let failure = #expect(throws: LayoutFailure.self) {
                try layout.select(Selector(reference: "busybox"))
            }
            #expect(kind(failure) == "noReference")
            try layout.finish()
        }
        #expect(throws: LayoutFailure.self) { try open(members, way, .ociArchive) }
    }

    @Test("Images of a docker-archive share layers by name or by link, and are selected by name or position")
    func several() throws {
        let one = DockerArchiveBuilder(["one:latest"], layers)
        let two = DockerArchiveBuilder(["two:latest"], [layers[0]])
        let manifest = try DockerArchiveBuilder.manifest(
            [one, two], layerNames: [one.layerNames, ["linked/layer.tar"]])
        let members =
            one.members + [
                two.members[0], .symlink("linked/layer.tar", to: Bytes("../\(one.layerNames[0])")), manifest,
            ]
        let layout = try open(members)
        #expect(kind(#expect(throws: LayoutFailure.self) { try layout.select(Selector()) }) == "ambiguous")
        #expect(try contents(layout, Selector(reference: "two")).count == 1)
        #expect(try contents(layout, Selector(position: 0)).count == 2)
        #expect(try contents(layout, Selector(position: 1)).count == 1)
        #expect(
            kind(#expect(throws: LayoutFailure.self) { try layout.select(Selector(position: 2)) })
                == "noPosition")
    }

    @Test(
        "An image with the diff ID of another image's layer does not break that image, and member names are cleaned"
    )
    func clash() throws {
        let one = DockerArchiveBuilder(["a:1"], [layers[1]])
        let liar = DockerArchiveBuilder(["b:1"], [layers[1]])
        let manifest = try DockerArchiveBuilder.manifest(
            [one, liar], layerNames: [["./a:1-0//layer.tar"], ["lie.tar"]])
        let members = one.members + [.file("lie.tar", Bytes(layers[0].tar)), manifest]
        let layout = try open(members)
        #expect(try contents(layout, Selector(reference: "a:1")) == [layers[1].tar])
        let swapped = try DockerArchiveBuilder.manifest(
            [liar, one], layerNames: [["lie.tar"], one.layerNames])
        let other = try open(one.members + [.file("lie.tar", Bytes(layers[0].tar)), swapped])
        #expect(try contents(other, Selector(reference: "a:1")) == [layers[1].tar])
        let twice = #expect(throws: LayoutFailure.self) {
            _ = try contents(try open(members + [one.members[0]]), Selector(reference: "a:1"))
        }
        #expect(kind(twice) == "notALayout")
    }

    @Test("A layer that does not match the config, or is missing, is rejected")
    func damaged() throws {
        let image = DockerArchiveBuilder(["x:1"], layers)
        var members = image.members + [try DockerArchiveBuilder.manifest([image])]
        members[2].contents = Bytes(LayerBuilder(.file("b", "other!")).tar)
        #expect(
            kind(#expect(throws: LayoutFailure.self) { _ = try contents(try open(members)) }) == "wrongDigest"
        )
        members.remove(at: 2)
        #expect(
            kind(#expect(throws: LayoutFailure.self) { _ = try contents(try open(members)) }) == "notALayout")
    }

    @Test("An archive with both forms, as Docker writes since version 25, is read as an OCI layout")
    func both() throws {
        let builder = try image()
        let other = DockerArchiveBuilder(["other:1"], [layers[1]])
        let manifest = try DockerArchiveBuilder.manifest([other])
        let members = try builder.members()
        #expect(try contents(try open(members + other.members + [manifest])).count == 2)
        let empty =
            members.filter { $0.path != "index.json" } + [.file("index.json", #"{"manifests": null}"#)]
        #expect(try contents(try open(empty + other.members + [manifest])).count == 1)
    }

    @Test(
        "A Docker name is normalized as in Docker",
        arguments: [
            ("busybox", "docker.io/library/busybox:latest"), ("busybox:1", "docker.io/library/busybox:1"),
            ("a/b", "docker.io/a/b:latest"), ("localhost/b:2", "localhost/b:2"),
            ("host:5000/a", "host:5000/a:latest"), ("quay.io/a/b:c", "quay.io/a/b:c"),
            ("index.docker.io/library/x", "docker.io/library/x:latest"),
            ("a@sha256:00", "docker.io/library/a@sha256:00"),
        ])
    func normalized(text: String, full: String) { #expect(DockerReference.normalized(text) == full) }
}

/// A FIFO and its writer.
struct Pipe: Sendable {
    let path: FilePath

    init(in scratch: TemporaryDirectory) throws {
        path = scratch.path.appending("pipe-\(UInt32.random(in: .min ... .max))")
        try Command.run("mkfifo", path.string).succeed()
        // The reader may stop before the end.
        Kernel.Process.ignoreWriteSignals()
    }

    /// Starts a thread that writes in small pieces, so that each boundary falls between two reads.
    func writer(_ pieces: [[UInt8]]) throws -> WorkerThread<Void> {
        try WorkerThread { [path] in
            let file = try FileHandle(forWritingTo: URL(fileURLWithPath: path.string))
            for piece in pieces {
                for start in stride(from: 0, to: piece.count, by: 10_000) {
                    try file.write(contentsOf: piece[start..<min(start + 10_000, piece.count)])
                }
            }
            try file.close()
        }
    }
}
