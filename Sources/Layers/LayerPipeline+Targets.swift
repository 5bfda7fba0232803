internal import Archive
package import Kernel
package import OCI
internal import Streams

/// A directory outside the store to which a layer is applied.
package enum LayerTarget: Sendable {
    /// A merged tree, which contains the layers below.
    case tree(Directory)
    /// The upper directory of an overlay, and the lower directories, topmost first.
    case upper(Directory, over: [Directory])

    package var directory: Directory {
        switch self {
        case .tree(let directory), .upper(let directory, over: _): directory
        }
    }

    /// Finds out the supported form of whiteouts by making and removing whiteouts and marks in the directory.
    package func probeWhiteoutForm(_ marks: OverlayMarks) throws(LayerFailure) -> WhiteoutForm {
        do {
            return try directory.withStagingDirectory { try $0.probeWhiteoutForm(marks) }
        } catch {
            throw LayerFailure.wrapping(error)
        }
    }
}

extension LayerPipeline {
    /// Applies a layer whose diff ID is unknown. The result is the same for each kind of target, empty or not.
    ///
    /// - Throws: `LayerFailure`. A directory that was empty is empty again. One that was not is unchanged, unless the
    ///   failure or the cancellation came while the staged layer was merged into it.
    package func apply(
        _ descriptor: Descriptor, onto target: LayerTarget, progress: @escaping Progress = { _ in }
    ) throws(LayerFailure) -> UnverifiedLayer {
        do {
            let directory = target.directory
            guard try directory.names(atMost: 1).isEmpty else {
                return try merge(descriptor, onto: target, progress)
            }
            // The client may have set the owner and the attributes of the root, which stay. The time of its creation
            // does not: equal layers give equal directories.
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
            throw LayerFailure.wrapping(error)
        }
    }

    private func merge(
        _ descriptor: Descriptor, onto target: LayerTarget, _ progress: @escaping Progress
    ) throws -> UnverifiedLayer {
        let directory = target.directory
        let below =
            target.lowers.isEmpty ? nil : MergedDirectory(target.lowers.map(LayerDirectory.disk), marks)
        return try directory.withStagedLayer(mergedOver: below, marks, check: cancellation.check) {
            layer in
            try apply(descriptor, to: layer, over: [directory] + target.lowers, progress)
        }
    }

    private func apply(
        _ descriptor: Descriptor, to directory: Directory, over lowers: [Directory],
        _ progress: @escaping Progress, _ plainRoot: Metadata = .implicit
    ) throws -> UnverifiedLayer {
        try applyConfined(
            descriptor, expecting: nil, directory, Promise(LowerView(lowers, marks)), progress,
            plainRoot: plainRoot)
    }
}

extension Directory {
    /// Undoes `makePlain`.
    fileprivate func restore(_ metadata: Metadata) throws {
        try file.setOwner(uid: metadata.uid, gid: metadata.gid)
        for attribute in metadata.extendedAttributes {
            try file.setExtendedAttribute(attribute.name, attribute.value)
        }
        try file.setExactMode(metadata.mode)
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
