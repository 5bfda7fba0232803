import Foundation

/// Writes valid inputs into the corpus directory of libFuzzer, which finds few of them by itself.
///
/// Called from `LLVMFuzzerInitialize`. Without a directory among the arguments, as when a single input is reproduced,
/// nothing is written.
package func writeSeeds(_ seeds: [[UInt8]]) {
    var isFolder: ObjCBool = false
    let folder = CommandLine.arguments.dropFirst().first {
        FileManager.default.fileExists(atPath: $0, isDirectory: &isFolder) && isFolder.boolValue
    }
    guard let folder else { return }
    for (index, seed) in seeds.enumerated() {
        let file = "\(folder)/seed-\(index)"
        guard FileManager.default.createFile(atPath: file, contents: Data(seed)) else {
            fatalError("cannot write \(file)")
        }
    }
}
