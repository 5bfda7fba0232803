internal import CKernel
internal import SystemPackage

/// Features of the processor that images are built for, and its number of threads.
package enum Processor {
    /// Number of processors that this process may use (sched_getaffinity(2)).
    package static let count = max(1, Int(ck_processor_count()))

    /// x86-64 microarchitecture level of this machine (psABI, section 3.1.1); 1 on other architectures.
    package static let level: Int = {
        var text = [UInt8]()
        // The first processor is enough; the kernel takes a while to print a hundred.
        try? File.open("/proc/cpuinfo", .read).read(into: &text, limit: 1 << 14)
        return level(cpuinfo: text)
    }()

    /// - Parameter cpuinfo: the text of `/proc/cpuinfo`. The kernel lists a feature only if it supports it: `avx`
    ///   implies that its registers are saved on a context switch.
    package static func level(cpuinfo: [UInt8]) -> Int {
        let lines = String(decoding: cpuinfo, as: UTF8.self).split(separator: "\n")
        guard let line = lines.first(where: { $0.hasPrefix("flags") }) else { return 1 }
        let flags = Set(line.split { " \t:".contains($0) })
        return 1 + levels.prefix { flags.isSuperset(of: $0) }.count
    }

    /// Additional features of levels 2, 3 and 4, by their Linux names: `abm` is LZCNT, `pni` is SSE3.
    private static let levels: [[Substring]] = [
        ["cx16", "lahf_lm", "popcnt", "pni", "ssse3", "sse4_1", "sse4_2"],
        ["abm", "avx", "avx2", "bmi1", "bmi2", "f16c", "fma", "movbe", "xsave"],
        ["avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"],
    ]
}
