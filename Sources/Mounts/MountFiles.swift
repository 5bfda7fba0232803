internal import Kernel
package import SystemPackage

/// A mount as a line of fstab(5).
package struct FstabLine: Equatable, Sendable {
    package let text: String

    /// - Throws: `.notPlain`; `.tooLong` for options that mount(8) would truncate.
    package init(_ mount: Mount, form: Mount.LowerForm, target: FilePath) throws(MountLine.Failure) {
        let fields = try MountFields(mount, form, target)
        text = ([fields.source, fields.target, fields.type, fields.options] + ["0", "0"]).command
    }
}

/// A mount as a systemd.mount(5) unit.
package struct SystemdMountUnit: Equatable, Sendable {
    /// The file name of the unit, which systemd requires to match the mount point.
    package let name: String
    package let text: String

    /// - Parameters:
    ///   - description: what is mounted, in one line.
    ///   - store: the directory that contains everything mounted. systemd mounts its file system first.
    /// - Throws: as `FstabLine`.
    package init(
        _ mount: Mount, form: Mount.LowerForm, target: FilePath, description: String, store: FilePath
    ) throws(MountLine.Failure) {
        let fields = try MountFields(mount, form, target)
        try MountLine.check([store])
        let store = try ShellWord(plain: store.string)
        name = Self.escaped(target) + ".mount"
        text = """
            # /etc/systemd/system/\(name)
            [Unit]
            Description=\(Self.value(description))
            RequiresMountsFor=\(store.text)

            [Mount]
            What=\(fields.source.text)
            Where=\(fields.target.text)
            Type=\(fields.type.text)
            Options=\(fields.options.text)

            [Install]
            WantedBy=multi-user.target
            """
    }

    /// Escapes a text so that it contains no specifiers (systemd.unit(5), "Specifiers") and stays on its line: a
    /// backslash at the end would continue the line.
    private static func value(_ text: String) -> String {
        printable(text).replacing("%", with: "%%") + (text.hasSuffix("\\") ? " ." : "")
    }

    /// Escapes a path as `systemd-escape --path` does (systemd.unit(5), "String Escaping for Inclusion in Unit Names").
    static func escaped(_ path: FilePath) -> String {
        let components = path.components.map(\.string)
        if components.isEmpty { return "-" }
        return components.enumerated().map { number, component in
            component.utf8.enumerated().map { index, byte in
                let isPlain =
                    (0x30...0x39).contains(byte) || (0x41...0x5A).contains(byte)
                    || (0x61...0x7A).contains(byte)
                    || byte == UInt8(ascii: ":") || byte == UInt8(ascii: "_")
                    || byte == UInt8(ascii: ".") && (index > 0 || number > 0)
                if isPlain { return String(Unicode.Scalar(byte)) }
                return "\\x" + String(byte, radix: 16, minimumDigits: 2)
            }.joined()
        }.joined(separator: "-")
    }
}

/// A shell script that creates a directory for systemd.mstack(7) (systemd ≥ 260) with a symlink to each layer.
package struct MstackScript: Equatable, Sendable {
    package let text: String

    /// - Parameter target: the directory to create, `NAME.mstack`.
    /// - Throws: `.notPlain`; `.unsupported` for mounts that are not made of directories, or are writable: systemd adds
    ///   a writable layer of its own.
    package init(_ mount: Mount, target: FilePath) throws(MountLine.Failure) {
        try MountLine.check(mount.paths + [target])
        let layers: [FilePath]
        switch mount {
        case .overlay(let lowers, nil, _, _): layers = lowers.reversed()
        case .bind(let source, true): layers = [source]
        case .overlay, .bind:
            throw .unsupported("an mstack has a writable layer of its own, in its directory rw")
        case .subvolume, .image, .device, .imageStack:
            throw .unsupported("an mstack consists of directories, and this snapshotter has none")
        }
        func link(_ number: Int) throws(MountLine.Failure) -> ShellWord {
            try ShellWord(plain: "\(target.string)/layer@\(number)")
        }
        var commands: [[ShellWord]] = [["mkdir", "-p", try ShellWord(plain: target.string)]]
        // The kernel refuses an overlay of one layer: an empty layer is added below it.
        if layers.count == 1 { commands.append(["mkdir", "-p", try link(0)]) }
        for (number, layer) in layers.enumerated() {
            commands.append(["ln", "-sfn", try ShellWord(plain: layer.string), try link(number + 1)])
        }
        text = commands.map(\.command).joined(separator: "\n")
    }
}

/// The fields that fstab(5) and systemd.mount(5) have in common.
private struct MountFields {
    let source: ShellWord
    let target: ShellWord
    let type: ShellWord
    let options: ShellWord

    init(_ mount: Mount, _ form: Mount.LowerForm, _ target: FilePath) throws(MountLine.Failure) {
        try MountLine.check(mount)
        try MountLine.check([target])
        if case .imageStack = mount {
            throw .unsupported("a line cannot have several mounts, and each layer is one")
        }
        if case .device(_, let type, _, _) = mount, type != Mount.zfs {
            throw .unsupported(
                "the device is active only until the machine is restarted: run 'unpack mount' then")
        }
        let list = mount.options(form)
        guard MountLine.fits(list) else {
            throw .tooLong(bytes: list.reduce(0) { $0 + $1.utf8.count + 1 } - 1)
        }
        source = try ShellWord(plain: mount.source)
        self.target = try ShellWord(plain: target.string)
        type = if case .bind = mount { "none" } else { try ShellWord(plain: mount.type) }
        options = try ShellWord(plain: list.joined(separator: ","))
    }
}
