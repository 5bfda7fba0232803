import Kernel
import Testing

@Suite("The processor") struct ProcessorTests {
    private static let two = "cx16 lahf_lm popcnt pni ssse3 sse4_1 sse4_2"
    private static let three = two + " abm avx avx2 bmi1 bmi2 f16c fma movbe xsave"
    private static let four = three + " avx512f avx512bw avx512cd avx512dq avx512vl"

    private static let processors: [(flags: String, level: Int)] = [
        ("", 1), ("sse sse2", 1), ("cx16 avx2 avx512f", 1), (two, 2), ("\(two) avx2", 2), (three, 3),
        ("\(three) avx512f", 3), (four, 4), ("\(four) amx_tile", 4), (String(four.dropFirst(5)), 1),
        (four.replacing(" fma", with: ""), 2),
    ]

    @Test(
        "The x86-64 level is the highest one whose features are all present", arguments: processors)
    func level(flags: String, expected: Int) {
        let text =
            "processor\t: 0\nmodel name\t: CPU\nflags\t\t: fpu \(flags)\nbugs\t\t: none\n\nprocessor\t: 1\n"
        #expect(Processor.level(cpuinfo: Array(text.utf8)) == expected)
    }

    @Test("Without flags in cpuinfo the level is 1", arguments: ["", "Features : fp asimd\n"])
    func noFlags(text: String) { #expect(Processor.level(cpuinfo: Array(text.utf8)) == 1) }
}
