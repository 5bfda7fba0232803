internal import CKernel
internal import SystemPackage

/// What the machine's processor can do, as far as images are built for it, and how much at once.
package enum Processor {
    /// How many threads this process can have running at once (sched_getaffinity(2)).
    package static let count = max(1, Int(ck_processor_count()))

    /// The x86-64 level (psABI, section 3.1.1) of this machine; 1 on any other.
    package static let level: Int = {
        var text = [UInt8]()
        // The first processor speaks for all; making the text of a hundred takes the kernel a while.
        try? File.open("/proc/cpuinfo", .read).read(into: &text, limit: 1 << 14)
        return level(cpuinfo: text)
    }()

    /// - Parameter cpuinfo: the text of `/proc/cpuinfo`. Of cpuid's answers the kernel lists what it has switched
    ///   on too, so that `avx` there means that its registers are saved.
    package static func level(cpuinfo: [UInt8]) -> Int {
        let lines = String(decoding: cpuinfo, as: UTF8.self).split(separator: "\n")
        guard let line = lines.first(where: { $0.hasPrefix("flags") }) else { return 1 }
        let flags = Set(line.split { " \t:".contains($0) })
        return 1 + levels.prefix { flags.isSuperset(of: $0) }.count
    }

    /// What level 2, 3 and 4 ask for beyond the one below, by Linux's names: `abm` is LZCNT, `pni` SSE3.
    private static let levels: [[Substring]] = [
        ["cx16", "lahf_lm", "popcnt", "pni", "ssse3", "sse4_1", "sse4_2"],
        ["abm", "avx", "avx2", "bmi1", "bmi2", "f16c", "fma", "movbe", "xsave"],
        ["avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"],
    ]
}
