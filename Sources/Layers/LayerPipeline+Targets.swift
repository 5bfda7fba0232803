internal import Archive
package import Kernel
package import OCI
internal import Streams

/// Somebody else's directory that a layer is to go to.
package enum LayerTarget: Sendable {
    /// A whole tree, which holds the layers below.
    case tree(Directory)
    /// The upper directory of an overlay, and those below it, topmost first.
    case upper(Directory, over: [Directory])

    /// What is written to.
    package var directory: Directory {
        switch self {
        case .tree(let directory), .upper(let directory, over: _): directory
        }
    }

    /// Makes whiteouts and marks in it for a moment.
    ///
    /// - Returns: the form in which whiteouts can be made there.
    package func tryLayer(_ marks: OverlayMarks) throws(LayerFailure) -> WhiteoutForm {
        do {
            return try directory.staging { try $0.tryLayer(marks) }
        } catch {
            throw LayerFailure.wrapping(error)
        }
    }
}

extension LayerPipeline {
    /// Applies a layer of which nobody has said what its tar has to be. It means the same wherever it goes, and whether
    /// something is there already or not.
    ///
    /// - Throws: and a directory that was empty is empty again; one that was not has all that it had, unless it was the
    ///   disk that failed while the layer was moved into it.
    package func apply(
        _ descriptor: Descriptor, onto target: LayerTarget, progress: @escaping Progress = { _ in }
    ) throws(LayerFailure) -> FoundLayer {
        do {
            let directory = target.directory
            guard try directory.names(atMost: 1).isEmpty else {
                return try merge(descriptor, onto: target, progress)
            }
            // Who has made it may have given it to somebody; when, is no matter.
            let before = try directory.metadata()
            var root = before
            root.modificationTime = .epoch
            root.accessTime = .epoch
            do {
                try directory.makePlain()
                return try apply(descriptor, to: directory, over: target.lowers, progress, root)
            } catch {
                try? directory.removeContents()
                try? directory.restore(before)
                throw error
            }
        } catch {
            throw failure(error)
        }
    }

    private func merge(
        _ descriptor: Descriptor, onto target: LayerTarget, _ progress: @escaping Progress
    ) throws -> FoundLayer {
        let directory = target.directory
        let below = target.lowers.isEmpty ? nil : MergedDirectory(target.lowers, marks)
        return try directory.merging(over: below, marks, isWanted: isWanted) { layer in
            try apply(descriptor, to: layer, over: [directory] + target.lowers, progress)
        }
    }

    private func apply(
        _ descriptor: Descriptor, to directory: Directory, over lowers: [Directory],
        _ progress: @escaping Progress, _ plainRoot: Metadata = .implicit
    ) throws -> FoundLayer {
        try confined(
            descriptor, expecting: nil, directory, Promise(LowerView(lowers, marks)), progress,
            plainRoot: plainRoot)
    }
}

extension Directory {
    /// Gives it back what `makePlain` has taken.
    fileprivate func restore(_ metadata: Metadata) throws(SyscallFailure) {
        try file.setOwner(uid: metadata.uid, gid: metadata.gid)
        for attribute in metadata.extendedAttributes {
            try file.setExtendedAttribute(attribute.name, attribute.value)
        }
        try file.setMode(metadata.mode)
        try file.setTimes(access: metadata.accessTime, modification: metadata.modificationTime)
    }
}

extension LayerTarget {
    fileprivate var lowers: [Directory] {
        switch self {
        case .tree: []
        case .upper(_, over: let lowers): lowers
        }
    }
}
