import Archive
import Foundation
import Kernel
import SystemPackage
import TestSupport
import Testing

/// A numeric field of a header.
private struct Field: Sendable, CustomStringConvertible {
    let description: String
    let offset: Int
    let width: Int
    /// An entry with this field.
    let entry: TarEntry
    /// The reason for rejecting an invalid value.
    let reason: String

    init(_ name: String, _ offset: Int, _ width: Int, of entry: TarEntry = .file("f"), _ reason: String) {
        description = name
        self.offset = offset
        self.width = width
        self.entry = entry
        self.reason = reason
    }

    func holding(_ text: String) -> TarEntry {
        let bytes = Array(text.utf8) + [UInt8](repeating: UInt8(ascii: " "), count: width)
        let before = entry.edit
        return entry.editing { header in
            before?(&header)
            header.replaceSubrange(offset..<offset + width, with: bytes.prefix(width))
        }
    }
}

/// A file with an old GNU sparse map of one piece in its header.
private let sparse = TarEntry.file("f", "abc").type(UInt8(ascii: "S")).editing { header in
    header.replaceSubrange(257..<265, with: Array("ustar  \0".utf8))
    header.replaceSubrange(386..<410, with: Array("00000000001\u{0}00000000003\u{0}".utf8))
    header.replaceSubrange(483..<495, with: Array("00000000020\u{0}".utf8))
}

private let fields = [
    Field("mode", 100, 8, "an unreadable number in the header"),
    Field("owner", 108, 8, "an unreadable number in the header"),
    Field("group", 116, 8, "an unreadable number in the header"),
    Field("size", 124, 12, "an unreadable size"),
    Field("major", 329, 8, of: .character("f", 1, 1), "an unreadable device number"),
    Field("minor", 337, 8, of: .block("f", 1, 1), "an unreadable device number"),
    Field("the size of a sparse file", 483, 12, of: sparse, "an unreadable size"),
    Field("the length of a piece", 398, 12, of: sparse, "an unreadable number in the sparse map"),
]

private func magic(_ magic: String, _ entry: TarEntry, prefix: String = "") -> TarEntry {
    entry.editing { header in
        header.replaceSubrange(257..<265, with: Array(magic.utf8))
        header.replaceSubrange(345..<345 + prefix.utf8.count, with: Array(prefix.utf8))
    }
}

@Suite("Headers on which readers of tar disagree") struct AmbiguousHeaderTests {
    private func refusal(of entries: TarEntry...) -> String? {
        do {
            _ = try read(LayerBuilder(entries + [.file("after", "x")]).tar)
            return nil
        } catch {
            return (error as? ArchiveFailure)?.reason.description
        }
    }

    /// Go reads a number after NULs, libarchive reads 0, and GNU tar one or the other.
    @Test("A number after a NUL is rejected in every field except times", arguments: fields)
    fileprivate func leadingNULs(field: Field) {
        for text in ["\0" + "0001", "\0\0" + "0001", " \0" + "0001", "\0 1", "\0\0\0\u{0}1"] {
            #expect(refusal(of: field.holding(text)) == field.reason, "\(text.debugDescription)")
        }
    }

    @Test(
        "Two numbers in a field are rejected, and so is a base-256 number that only Go accepts",
        arguments: fields)
    fileprivate func twoNumbers(field: Field) {
        #expect(refusal(of: field.holding("1 1")) == field.reason)
        #expect(refusal(of: field.holding("1 \0" + "1")) == field.reason)
        for first in [0x81, 0xBF, 0xC0, 0xFE] as [UInt8] {
            let entry = field.holding("").editing { header in
                field.entry.edit?(&header)
                header.replaceSubrange(
                    field.offset..<field.offset + field.width,
                    with: [first] + [UInt8](repeating: 0, count: field.width - 2) + [1])
            }
            #expect(refusal(of: entry) == field.reason, "\(first)")
        }
    }

    @Test("A size after a NUL does not turn a file's data into entries")
    func hiddenEntry() {
        let inner = TarEntry.file("inner").encoded
        let outer = TarEntry.file("outer", Bytes(inner)).editing { header in
            header.replaceSubrange(124..<136, with: Array("\0 0000001000".utf8.prefix(12)))
        }
        let failure = #expect(throws: ArchiveFailure.self) { try read(outer, .file("after")) }
        #expect(failure?.description == "byte 0 of the tar: an unreadable size")
    }

    @Test("A checksum after a NUL is wrong")
    func checksum() {
        var tar = LayerBuilder(.file("f")).tar
        tar.replaceSubrange(148..<156, with: [0] + tar[148..<154] + [0x20])
        let failure = #expect(throws: ArchiveFailure.self) { try read(tar) }
        #expect(failure?.reason.description == "a wrong header checksum")
    }

    @Test("A time after NULs is read as in Go; such an access time is ignored")
    func times() throws {
        let late = TarEntry.file("f").editing {
            $0.replaceSubrange(136..<148, with: Array("\0\0000001000 ".utf8))
        }
        let blank = TarEntry.file("f").editing {
            $0.replaceSubrange(136..<148, with: [UInt8](repeating: 0, count: 12))
        }
        let access = magic("ustar  \0", .file("f").at(7), prefix: "\0" + "0000000011")
        let entries = try read(late, blank, access)
        #expect(entries.map(\.metadata.modificationTime.seconds) == [512, 0, 7])
        #expect(entries.map(\.metadata.accessTime.seconds) == [512, 0, 7])
        let behind = TarEntry.file("f").editing { $0.replaceSubrange(136..<138, with: [0, 0x80]) }
        #expect(refusal(of: behind) == "an unreadable number in the header")
    }

    @Test("Blank fields are 0")
    func blank() throws {
        for byte in [0, UInt8(ascii: " ")] as [UInt8] {
            let entry = TarEntry.character("c", 1, 1).editing { header in
                for range in [100..<108, 108..<116, 116..<124, 124..<136, 136..<148, 329..<337, 337..<345] {
                    header.replaceSubrange(range, with: [UInt8](repeating: byte, count: range.count))
                }
            }
            #expect(try read(entry).map(\.line) == ["c c 0:0"])
        }
    }

    /// libarchive compares five bytes of the magic, Go and GNU tar compare six.
    @Test(
        "A magic that only libarchive accepts as ustar is rejected if fields depend on it",
        arguments: ["ustar   ", "ustar 00", "ustar00\0", "ustarX00", "ustar  X"])
    func oddMagic(text: String) throws {
        let reason = "a header that is ustar to some readers and not to others"
        #expect(refusal(of: magic(text, .file("f", "1"), prefix: "usr")) == reason)
        #expect(refusal(of: magic(text, .character("f", 1, 3))) == reason)
        #expect(try read(magic(text, .file("f", "1")), .file("g")).map(\.line) == ["- f 1 1", "- g 0"])
    }

    @Test("The version after ustar's magic may be anything", arguments: ["  ", "\0\0", "99"])
    func version(text: String) throws {
        let entries = try read(
            magic("ustar\0" + text, .file("f", "1"), prefix: "usr/lib"),
            magic("ustar\0" + text, .block("b", 7, 1)))
        #expect(entries.map(\.line) == ["- usr/lib/f 1 1", "b b 7:1"])
    }

    @Test("A prefix that is too long for star is rejected in star's headers")
    func star() throws {
        func star(_ prefix: String) -> TarEntry {
            TarEntry.file("f").editing { header in
                header.replaceSubrange(345..<345 + prefix.utf8.count, with: Array(prefix.utf8))
                header.replaceSubrange(508..<512, with: Array("tar\0".utf8))
            }
        }
        #expect(try read(star("usr")).map(\.path) == ["usr/f"])
        let long = String(repeating: "p", count: 131)
        #expect(try read(star(long)).map(\.path) == ["\(long)/f"])
        #expect(
            refusal(of: star(long + "00000000777"))
                == "a header that is ustar to some readers and not to others")
    }

    // MARK: Other readers

    /// How to list what other readers see, one name per line.
    private static let readers: [(program: String, script: String)] = [
        ("tar", #"mkdir x && tar -xpf t -C x && cd x && find . -mindepth 1 | cut -c3- | sort"#),
        ("bsdtar", #"mkdir x && bsdtar -xpf t -C x && cd x && find . -mindepth 1 | cut -c3- | sort"#),
        ("python3", #"python3 -c 'import tarfile; [print(m.name) for m in tarfile.open("t")]' | sort"#),
        ("go", #"HOME=$PWD GO111MODULE=off go run names.go | sed 's,/$,,' | sort"#),
    ]

    private static let goProgram = """
        package main
        import ("archive/tar"; "fmt"; "io"; "os")
        func main() {
            file, _ := os.Open("t")
            reader := tar.NewReader(file)
            for {
                header, err := reader.Next()
                if err == io.EOF { return }
                if err != nil { panic(err) }
                if header.Typeflag != tar.TypeXGlobalHeader { fmt.Println(header.Name) }
            }
        }
        """

    /// Every reader must handle sizes, long names and extended headers correctly to list these names.
    @Test(
        "GNU tar, bsdtar, Python and Go list the same names for accepted headers",
        arguments: readers.map(\.program).filter { TestEnvironment.has($0) })
    func others(program: String) throws {
        let folder = try TemporaryDirectory()
        try folder.write("names.go", Array(Self.goProgram.utf8))
        try folder.write("t", LayerBuilder(DialectTests.sizesWithoutData + DialectTests.repetitions).tar)
        let names = try read(LayerBuilder(DialectTests.sizesWithoutData + DialectTests.repetitions).tar)
            .map(\.path).sorted()
        let script = try #require(Self.readers.first { $0.program == program }?.script)
        let run = try Command.run(
            "bash", "-o", "pipefail", "-ec", script, environment: ["LC_ALL": "C"], in: folder.path,
            timeout: 300)
        #expect(try run.succeed().text.split(separator: "\n").map(String.init) == names)
    }
}
