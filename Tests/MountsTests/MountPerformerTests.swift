import Kernel
import Mounts
import SystemPackage
import TestSupport
import Testing

@Suite("Performing mounts", .enabled(if: TestEnvironment.canMountOverlay, "overlay cannot be mounted here"))
struct MountPerformerTests {
    private let store: TemporaryDirectory
    private let target: FilePath

    init() throws {
        store = try TemporaryDirectory(in: try #require(TestEnvironment.scratch))
        target = try store.makeDirectory("target")
    }

    /// Directories with one file each, topmost first.
    private func layers(_ count: Int) throws -> [FilePath] {
        try (0..<count).reversed().map { number in
            let path = try store.makeDirectory("\(number)/fs")
            try store.write("\(number)/fs/file-\(number)", [])
            try store.write("\(number)/fs/top", Array("\(number)".utf8))
            return path
        }
    }

    private func mounted<Result>(
        _ mount: Mount, _ form: Mount.LowerForm, _ body: (Directory) throws -> Result
    ) throws -> Result {
        try MountPerformer.perform(mount, form: form, folder: store.path, on: target)
        let result = Swift.Result { try body(try Directory(opening: target)) }
        try MountPerformer.unmount(target)
        return try result.get()
    }

    private static let forms: [Mount.LowerForm] =
        Mount.LowerForm.ofThisKernel == .appended ? [.joined, .appended] : [.joined]

    @Test("All layers are mounted in order", arguments: [2, 3, 127], forms)
    func overlay(count: Int, form: Mount.LowerForm) throws {
        let mount = Mount.overlay(
            lowers: try layers(count), writable: nil, userAttributes: false, noIndex: false)
        try mounted(mount, form) { tree in
            #expect(try tree.names().count == count + 1)
            var top = [UInt8]()
            try tree.openFile(FileName(literal: "top")).read(into: &top, limit: 100)
            #expect(top == Array("\(count - 1)".utf8))
            #expect(try MountTable.read().lowers(of: target) == count)
            let failure = #expect(throws: SyscallFailure.self) {
                try tree.makeDirectory(FileName(literal: "n"), mode: 0o700)
            }
            #expect(failure?.errno == .readOnlyFileSystem)
        }
        #expect(try MountTable.read().lowers(of: target) == 0)
    }

    @Test("A writable overlay writes only to its upper directory", arguments: [1, 3], forms)
    func writable(count: Int, form: Mount.LowerForm) throws {
        let upper = Mount.Writable(upper: try store.makeDirectory("u"), work: try store.makeDirectory("w"))
        let lowers = try layers(count)
        try mounted(.overlay(lowers: lowers, writable: upper, userAttributes: false, noIndex: true), form) {
            tree in
            try tree.makeDirectory(FileName(literal: "new"), mode: 0o700)
        }
        #expect(try Directory(opening: upper.upper).status(of: FileName(literal: "new")) != nil)
        #expect(try Directory(opening: lowers[0]).status(of: FileName(literal: "new")) == nil)
    }

    @Test("Overlay can mark opaque directories in user.overlay attributes", arguments: forms)
    func userAttributes(form: Mount.LowerForm) throws {
        let upper = Mount.Writable(upper: try store.makeDirectory("u"), work: try store.makeDirectory("w"))
        let lowers = try layers(1)
        _ = try store.makeDirectory("0/fs/d/e")
        try mounted(
            .overlay(lowers: lowers, writable: upper, userAttributes: true, noIndex: true), form
        ) { tree in
            try tree.removeTree(FileName(literal: "d"))
            try tree.makeDirectory(FileName(literal: "d"), mode: 0o700)
            #expect(try tree.open(FileName(literal: "d")).names() == [])
        }
        let made = try Directory(opening: upper.upper.appending("d"))
        #expect(try made.file.extendedAttributeNames() == [AttributeName(literal: "user.overlay.opaque")])
    }

    @Test("A single layer is bind-mounted, read-only or writable", arguments: [true, false])
    func bind(readOnly: Bool) throws {
        let layer = try #require(try layers(1).first)
        try mounted(.bind(source: layer, readOnly: readOnly), .joined) { tree in
            #expect(try tree.names().count == 2)
            let failure: SyscallFailure? =
                if readOnly {
                    #expect(throws: SyscallFailure.self) {
                        try tree.makeDirectory(FileName(literal: "n"), mode: 0o700)
                    }
                } else {
                    nil
                }
            if !readOnly { try tree.makeDirectory(FileName(literal: "n"), mode: 0o700) }
            #expect(failure?.errno == (readOnly ? .readOnlyFileSystem : nil))
        }
    }

    @Test("More layers than mount(2) takes are refused, not truncated", arguments: [1500])
    func tooMany(count: Int) throws {
        let layer = try #require(try layers(1).first)
        let mount = Mount.overlay(
            lowers: Array(repeating: layer, count: count), writable: nil, userAttributes: false,
            noIndex: false)
        let failure = #expect(throws: MountPerformer.Failure.self) { try mounted(mount, .joined) { _ in } }
        guard case .tooManyLayers(count) = failure else {
            Issue.record("\(String(describing: failure))")
            return
        }
    }

    @Test("A mount that fails is reported, and nothing stays mounted", arguments: forms)
    func failing(form: Mount.LowerForm) throws {
        let mount = Mount.overlay(
            lowers: [store.path.appending("x"), store.path.appending("y")], writable: nil,
            userAttributes: false, noIndex: false)
        #expect(throws: MountPerformer.Failure.self) { try mounted(mount, form) { _ in } }
        #expect(try MountTable.read().lowers(of: target) == 0)
    }
}
