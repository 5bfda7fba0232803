package import Kernel
internal import Layers
internal import Layout
internal import OCI

/// Writes the merged tree of an image as one tar, in two verified passes over its layers.
package struct ImageTarJob: Sendable {
    private let opened: OpenedImage
    private let limits: UnpackRequest.Limits
    private let latest: Timestamp?
    private let cancellation: Cancellation
    private let onEvent: @Sendable (UnpackEvent) -> Void

    /// - Parameters:
    ///   - latest: later times of files are lowered to it (`SOURCE_DATE_EPOCH`); nil keeps all times.
    ///   - limits: limits for all layers together; without `bytes` the content is not limited.
    package init(
        _ opened: OpenedImage, limits: UnpackRequest.Limits = UnpackRequest.Limits(),
        latest: Timestamp? = nil,
        cancellation: Cancellation, onEvent: @escaping @Sendable (UnpackEvent) -> Void
    ) {
        self.opened = opened
        self.limits = limits
        self.latest = latest
        self.cancellation = cancellation
        self.onEvent = onEvent
    }

    /// Writes the tar. Its first byte is written after all layers have been verified once.
    ///
    /// - Parameter write: receives the bytes in order, and returns when they are written, so that at most one block is
    ///   pending.
    /// - Returns: what of the image the tar does not contain, one line each.
    /// - Throws: an error after which the output has no end-of-archive marker, so that it is not taken for a whole tar.
    package func run(to write: @escaping (RawSpan) throws -> Void) throws(UnpackError) -> [String] {
        let failure = Locked<(any Error)?>(nil)
        do {
            return try writeAll { (bytes: RawSpan) throws in
                do {
                    try write(bytes)
                } catch {
                    failure.withLock { $0 = error }
                    throw error
                }
            }
        } catch {
            // An error of `write` does not concern a layer, although it passes through the reader of one.
            guard let cause = failure.withLock({ $0 }) else { throw error }
            let inner = (cause as? SyscallFailure).map { UnpackError($0) }
            throw UnpackError(inner?.code ?? .io, "cannot write the tar: \(inner?.message ?? "\(cause)")")
        }
    }

    private func writeAll(to write: @escaping (RawSpan) throws -> Void) throws(UnpackError) -> [String] {
        let steps = opened.image.steps
        onEvent(.planned(steps + steps, cached: []))
        var tree = ImageTree()
        var warnings = [String]()
        let reader = TreeReader(opened.layout, budget: budget(), cancellation: cancellation)
        for step in steps {
            try work(on: step) { () throws(LayerFailure) in
                let added = try reader.add(step, to: &tree) { [onEvent] in onEvent(.progressed(step, $0)) }
                for warning in added.warnings { onEvent(.warned(step, message: warning.description)) }
                warnings += added.warnings.map { "\(step.name): \($0.description)" }
            }
        }
        let tar = try attempt {
            try ImageTarWriter(tree, latest: latest) { try cancellation.check() }
        }
        var output = ImageTarWriter.Output(to: write)
        if let first = steps.first {
            do {
                try tar.writeDirectories(to: &output, cancellation: cancellation)
            } catch {
                throw UnpackError(error, in: first)
            }
        }
        let budget = budget()
        for step in steps where tar.needsContent(of: step) {
            try work(on: step) { () throws(LayerFailure) in
                try tar.writeContent(
                    of: step, in: opened.layout, budget: budget, cancellation: cancellation, to: &output
                ) { [onEvent] in onEvent(.progressed(step, $0)) }
            }
        }
        if let last = steps.last {
            do {
                try tar.writeRemaining(to: &output, cancellation: cancellation)
            } catch {
                throw UnpackError(error, in: last)
            }
        }
        return warnings
    }

    private func work(
        on step: LayerStep, _ body: () throws(LayerFailure) -> Void
    ) throws(UnpackError) {
        onEvent(.started(step))
        do {
            try body()
        } catch {
            throw UnpackError(error, in: step)
        }
        onEvent(.read(step))
    }

    private func budget() -> Budget {
        limits.budget(compressed: opened.image.steps.reduce(0) { $0 + $1.descriptor.size })
    }
}
