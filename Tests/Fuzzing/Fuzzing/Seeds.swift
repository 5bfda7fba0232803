import Foundation

/// Puts inputs that are right into the folder that libFuzzer is about to read: a fuzzer finds few of them itself.
///
/// Called from `LLVMFuzzerInitialize`. Without a folder among the arguments, as when one input is tried again,
/// nothing is written.
package func plant(_ seeds: [[UInt8]]) {
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
