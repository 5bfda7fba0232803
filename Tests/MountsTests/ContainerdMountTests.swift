import Mounts
import SystemPackage
import Testing

/// Parses `type source option,…`. Options must not contain a comma.
private func mount(_ line: String) -> ContainerdMount {
    let words = line.split(separator: " ", omittingEmptySubsequences: false).map(String.init)
    return ContainerdMount(
        type: words[0], source: words[1],
        options: words.count > 2 ? words[2].split(separator: ",").map(String.init) : [])
}

@Suite("Mounts that containerd describes") struct ContainerdMountTests {
    @Test(
        "Mounts of containerd are recognized by the kind of tree that they show",
        arguments: [
            ("bind /s/1/fs rw,rbind", .directory("/s/1/fs", isReadOnly: false)),
            ("bind /s/1/fs rbind,ro", .directory("/s/1/fs", isReadOnly: true)),
            ("none /s/1/fs bind,ro,nosuid,rw", .directory("/s/1/fs", isReadOnly: false)),
            (
                "overlay overlay workdir=/s/3/work,upperdir=/s/3/fs,lowerdir=/s/2/fs:/s/1/fs,index=off,volatile",
                .overlay(lowers: ["/s/2/fs", "/s/1/fs"], upper: "/s/3/fs", userAttributes: false)
            ),
            (
                "overlay overlay lowerdir=/s/2/fs:/s/1/fs,userxattr",
                .overlay(lowers: ["/s/2/fs", "/s/1/fs"], upper: nil, userAttributes: true)
            ),
            (
                "overlay overlay ro,upperdir=/s/3/fs,workdir=/s/3/work,lowerdir=/s/2/fs",
                .overlay(lowers: ["/s/3/fs", "/s/2/fs"], upper: nil, userAttributes: false)
            ),
            (
                #"overlay overlay lowerdir=/a\:b:/c\\d"#,
                .overlay(lowers: ["/a:b", #"/c\d"#], upper: nil, userAttributes: false)
            ),
            (
                #"overlay overlay lowerdir+=/a:b,lowerdir+=/c\d,upperdir=/u\:v,workdir=/w"#,
                .overlay(lowers: ["/a:b", #"/c\d"#], upper: "/u:v", userAttributes: false)
            ),
            (
                "ext4 /s/1/image loop,noload,ro",
                .fileSystem(
                    type: "ext4", source: "/s/1/image", isReadOnly: true, options: [MountOption("noload")])
            ),
            (
                "btrfs /dev/sda2 subvolid=257",
                .fileSystem(
                    type: "btrfs", source: "/dev/sda2", isReadOnly: false,
                    options: [MountOption("subvolid=257")])
            ),
            (
                "erofs /s/1/layer.erofs loop",
                .fileSystem(type: "erofs", source: "/s/1/layer.erofs", isReadOnly: true, options: [])
            ),
        ] as [(String, ContainerdTree)])
    func trees(line: String, expected: ContainerdTree) throws {
        #expect(try ContainerdTree([mount(line)]) == expected)
    }

    @Test("Paths in options may contain any byte of a file name")
    func commas() throws {
        let options = [#"lowerdir=/a\,b:/c"#, #"upperdir=/u\,v"#, "workdir=/w"]
        let mount = ContainerdMount(type: "overlay", source: "overlay", options: options)
        #expect(
            try ContainerdTree([mount])
                == .overlay(lowers: ["/a,b", "/c"], upper: "/u,v", userAttributes: false))
    }

    @Test("No mounts are an empty tree")
    func nothing() throws { #expect(try ContainerdTree([]) == .none) }

    @Test(
        "The mounts of this program's snapshots are recognized",
        arguments: [
            .bind(source: "/s/1/fs", readOnly: false), .bind(source: "/s/1/fs", readOnly: true),
            .overlay(
                lowers: ["/s/1/fs"], writable: Mount.Writable(upper: "/s/2/fs", work: "/s/2/work"),
                userAttributes: true, noIndex: true),
            .overlay(lowers: ["/s/2/fs", "/s/1/fs"], writable: nil, userAttributes: false, noIndex: true),
            .subvolume(device: "/dev/sda2", id: 257, readOnly: true),
            .image(file: "/s/1/image", type: "ext4", readOnly: false, options: []),
        ] as [Mount])
    func own(mount: Mount) throws {
        let tree = try ContainerdTree([ContainerdMount(mount)])
        switch (tree, mount) {
        case (.directory(let path, let isReadOnly), .bind(let source, let readOnly)):
            #expect(path == source && isReadOnly == readOnly)
        case (.overlay(let lowers, let upper, let marks), .overlay(let ours, let writable, let ourMarks, _)):
            #expect(lowers == ours && upper == writable?.upper && marks == ourMarks)
        case (.fileSystem("btrfs", let source, true, let options), .subvolume(let device, let id, true)):
            #expect(source == device && options == [MountOption("subvolid=\(id)")])
        case (.fileSystem("ext4", let source, false, []), .image(let file, _, _, _)): #expect(source == file)
        default: Issue.record("\(mount) is read as \(tree)")
        }
    }

    @Test(
        "Mounts that only containerd can perform are unsupported",
        arguments: [
            "bind /s/1/fs rbind,uidmap=0:1000:10", "overlay overlay lowerdir=/a:/b,gidmap=0:1000:10",
            "format/overlay overlay lowerdir={{ overlay 0 1 }}",
            "mkfs/ext4 /s/1/image X-containerd.mkfs.size=1G",
            "bind /s/1/fs rbind,X-containerd.mkdir.path=/a", "fuse.stargz /s stargz", "fuse3.x /s",
            "overlay overlay lowerdir=/a:/b::/data", "overlay overlay lowerdir=/a:/b,datadir+=/data",
            "overlay overlay lowerdir=/a:/b,metacopy=on", "overlay overlay lowerdir=/a:/b,redirect_dir=on",
            "overlay overlay upperdir=/u,workdir=/w", "overlay overlay lowerdir=/a:/b,no-such-option",
            "erofs /s/a loop,device=/dev/loop1", "xfs /s/a logdev=/dev/loop1",
            "ext4 /s/a journal_path=/dev/loop1", "tmpfs tmpfs", "zfs pool/set", "bind /s/1/fs rbind,size=1G",
        ])
    func unsupported(line: String) {
        #expect(failure([mount(line)])?.isUnsupported == true, "\(line)")
    }

    @Test("Several mounts, and a mount with a target, are unsupported")
    func stacked() {
        let one = mount("bind /a rbind,ro")
        #expect(failure([one, one])?.isUnsupported == true)
        #expect(
            failure([ContainerdMount(type: "bind", source: "/a", target: "sub", options: ["bind"])])?
                .isUnsupported == true)
    }

    @Test(
        "Invalid mounts are refused",
        arguments: [
            "bind relative rbind", "overlay overlay lowerdir=a:/b", "overlay overlay lowerdir=/a,lowerdir=/b",
            "overlay overlay lowerdir=/a,upperdir=,workdir=/w", "none /a ro", "bind /a bind,remount,ro",
        ])
    func invalid(line: String) {
        #expect(failure([mount(line)])?.isUnsupported == false, "\(line)")
    }

    private func failure(_ mounts: [ContainerdMount]) -> ContainerdTree.Failure? {
        do throws(ContainerdTree.Failure) {
            _ = try ContainerdTree(mounts)
            return nil
        } catch {
            return error
        }
    }
}

extension ContainerdTree.Failure {
    fileprivate var isUnsupported: Bool {
        if case .unsupported = self { return true }
        return false
    }
}
